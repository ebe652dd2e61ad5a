"""What a judge reads, which outcomes it may give, and what it cannot express: for `holisafe judge list`.

A judge of another package may say so by two attributes: `reads` (names as in `About`) and `outcomes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from holisafe.judges._registry import Judge, PublishedProtocol
from holisafe.judges._requests import asks_model
from holisafe.judges._section import LastSection
from holisafe.judges.asked import AskedJudge
from holisafe.judges.guard_models import TELL_REFUSALS, ModelGuard, Sees
from holisafe.judges.strings import (
    FinalAnswer,
    FirstWord,
    Learned,
    Option,
    PublishedStringMatch,
    Refusal,
    SaptStringMatch,
    VLGuardStringMatch,
)
from holisafe.records import JudgeId, Outcome
from holisafe.taxonomy import Combination

IMAGE, REQUEST, RESPONSE, LABEL = "image", "request", "response", "label"
"""What a judge may read; the label is what is right, to answer or to refuse."""

_LISTS = (Outcome.REFUSED, Outcome.ANSWERED)
_SENTENCES = (*_LISTS, Outcome.UNHELPFUL, Outcome.UNPARSABLE)
_WORDS = (*_LISTS, Outcome.UNPARSABLE)
_OF_STRINGS: Mapping[type, tuple[Outcome, ...]] = {
    PublishedStringMatch: _LISTS,
    VLGuardStringMatch: _LISTS,
    SaptStringMatch: _LISTS,
    Refusal: _SENTENCES,
    Learned: _SENTENCES,
    FirstWord: _WORDS,
    FinalAnswer: _WORDS,
    Option: (Outcome.ANSWERED, Outcome.UNPARSABLE),
}
_OF_GUARDS = (Outcome.UNPARSABLE, Outcome.REFUSED_TO_JUDGE, Outcome.NOT_EXPRESSED)
_SEEN = {Sees.IMAGE: IMAGE, Sees.TEXT: REQUEST, Sees.RESPONSE: RESPONSE}


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a judge.

    Attributes:
        reads: Of "image", "request", "response" and "label"; None where the judge does not say.
        asks_model: Whether it asks a model.
        outcomes: What it may find, beside `error`; None where it does not say.
        cannot_express: Combinations whose requests a guard model cannot tell from SSS, and "refusals"; empty for other
            judges.
    """

    reads: tuple[str, ...] | None
    asks_model: bool
    outcomes: tuple[Outcome, ...] | None
    cannot_express: tuple[str, ...] = ()


def about(judge: Judge) -> About:
    """What is known of a judge."""
    match judge:
        case ModelGuard():
            return _of_guard(judge)
        case LastSection():
            return about(judge.inner)
        case AskedJudge():
            asked = judge.declaration
            shown = {IMAGE: asked.show_images, REQUEST: True, RESPONSE: True, LABEL: asked.needs_expected}
            reads = tuple(name for name, is_shown in shown.items() if is_shown)
            outcomes = (*(rule.outcome for rule in asked.rules), Outcome.UNPARSABLE, Outcome.REFUSED_TO_JUDGE)
            return About(reads, True, _with_none(judge, outcomes))
        case _ if type(judge) in _OF_STRINGS:
            return About((RESPONSE,), False, _with_none(judge, _OF_STRINGS[type(judge)]))
    said, found = getattr(judge, "reads", None), getattr(judge, "outcomes", None)
    return About(
        None if said is None else tuple(map(str, said)),
        asks_model(judge),
        None if found is None else tuple(map(Outcome, found)),
    )


def measured_error(judge: JudgeId) -> Mapping[str, Any] | None:
    """A judge's error on the hard set of the labelled answers, as `perf/judges.py` measured this very version.

    Returns:
        `right`, `precision` and `recall` of refusals, each with `value`, `low`, `high` (95 %) and `count`; None where
        this version was not measured.
    """
    found = _measured().get(judge.name)
    return None if found is None or found["version"] != judge.version else found["hard"]


def _of_guard(guard: ModelGuard) -> About:
    model = guard.model
    tells = bool(getattr(model, "tells_refusals", model.name in TELL_REFUSALS))
    found = (Outcome.REFUSED, Outcome.ANSWERED) if tells else (Outcome.HARMLESS,)
    missing = [kind.value for kind in Combination if kind not in model.expresses]
    return About(
        tuple(name for sees, name in _SEEN.items() if sees in model.sees),
        guard.needs_model,
        _with_none(guard, (Outcome.HARMFUL, *found, *_OF_GUARDS)),
        (*missing, *(() if tells else ("refusals",))),
    )


def _with_none(judge: Judge, outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    """Each once, with `no_answer` unless the judge counts every text."""
    none = () if isinstance(judge, PublishedProtocol) else (Outcome.NO_ANSWER,)
    return tuple(dict.fromkeys((*outcomes, *none)))


@cache
def _measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((files("holisafe.judges") / "data" / "error.json").read_text(encoding="utf-8"))
    return found
