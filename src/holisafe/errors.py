"""Every error holisafe raises on purpose, one subclass per kind."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class HoliSafeError(Exception):
    """Something a person can act on: the message says what was found, what was expected, and what to do."""


class DataError(HoliSafeError):
    """A data set, a record or one of its fields is not what its format says."""


class ImageError(HoliSafeError):
    """An image could not be let in: unreadable, too large, of a format not allowed, or outside its folder."""


class ModelError(HoliSafeError):
    """A model, its weights or its processor could not be had or do not fit."""


class ContextError(ModelError):
    """A prompt leaves no room for an answer in the model's context."""


class GuardError(HoliSafeError):
    """A guard cannot be attached, its weights do not fit, or it has no verdict to give."""


class DefenceError(HoliSafeError):
    """A defence cannot work on a model, or its settings or fitted parts do not fit."""


class TuningError(HoliSafeError):
    """Data, settings or a chat template cannot be tuned on, or tuning could not continue."""


class EditingError(HoliSafeError):
    """Weights cannot be edited as asked: settings, models that do not belong together, or a damaged checkpoint."""


class RunError(HoliSafeError):
    """A run could not be started, resumed, written or read."""


class BudgetError(RunError):
    """A run has spent its budget; what was answered is kept, and a larger budget resumes it."""


class JudgeError(HoliSafeError):
    """A judge is unknown or could not work."""


class RegistryError(HoliSafeError):
    """A part that another package adds cannot be imported, or its name is taken."""


class MissingDependencyError(HoliSafeError):
    """A library that this command needs is not installed."""


class UnknownNameError(HoliSafeError):
    """A name that no registry holds; the message offers the closest ones that exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        """Say that `name` is no `kind`, with the closest of `known`, else all of them."""
        self._arguments = (kind, name, tuple(known), hint)
        choices = sorted(self._arguments[2])
        asked = name.lower()
        close = difflib.get_close_matches(asked, choices, n=3, cutoff=0.5)
        # part of a longer name, as "weapons" of "weapon_related_violence", is close too
        close = close or [choice for choice in choices if len(asked) > 3 and asked.rstrip("s") in choice.lower()][:3]
        offer = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(choices) or 'none'}."
        super().__init__(f"unknown {kind} {name!r}. {offer}{' ' + hint if hint else ''}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel between processes: made again from what they were made of."""
        return _unknown_name, self._arguments


def _unknown_name(kind: str, name: str, known: tuple[str, ...], hint: str) -> UnknownNameError:
    return UnknownNameError(kind, name, known, hint=hint)
