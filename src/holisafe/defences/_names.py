"""Defences by the names that users write: `ecso`, `coca:alpha=2,principle=...`, `guard:refuse`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from holisafe._checks import check_type
from holisafe.defences._contract import DEFENCES, Defence
from holisafe.errors import DefenceError

_NEXT = re.compile(r",(?=[A-Za-z_]\w*=)")
"""A comma before another setting; commas inside a text stay."""


def defence_names() -> list[str]:
    """Names of all defences, those of other packages included; none is imported."""
    return DEFENCES.names()


def parse(given: str | Defence) -> Defence:
    """The defence that `NAME[:VALUE][:KEY=VALUE,...]` means.

    Raises:
        UnknownNameError: There is no such defence.
        DefenceError: A setting is unknown or out of range.
    """
    if isinstance(given, Defence):
        return given
    check_type(given, str, "defence")
    name, _, rest = given.partition(":")
    kind = DEFENCES.get(name)
    try:
        return kind(kind.config.from_mapping(_settings(kind, rest)))
    except DefenceError as error:
        raise DefenceError(f"defence {given!r}: {error}") from None


def parse_all(given: Sequence[str | Defence]) -> list[Defence]:
    """Several, outermost first."""
    return [parse(each) for each in given]


def _settings(kind: type[Defence], text: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for part in _NEXT.split(text) if text else []:
        key, equals, value = part.partition("=")
        if equals and key in settings:
            raise DefenceError(f"{key} is given twice; give it once")
        if equals and key.isidentifier():
            settings[key] = _value(value)
        elif kind.positional is not None and kind.positional not in settings:
            settings[kind.positional] = part
        else:
            raise DefenceError(f"found {part!r}, expected KEY=VALUE")
    return settings


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, bool | int | float | str) else text
