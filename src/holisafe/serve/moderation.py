"""A guard's verdict as OpenAI's moderation result.

Categories are OpenAI's thirteen names, by the crosswalk, and ours, as `holisafe/LABEL`. A subcategory counts for the
nearest of OpenAI's names alone: a drawing of a weapon is "violence", and says nothing of "violence/graphic". A category
of the request verdict counts for the name that is nearest for at least half of its subcategories. `holisafe/safe` has a
score and is never true: a category that is true is a reason for the flag.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from holisafe.crosswalks import OPENAI_MODERATION
from holisafe.guard import DecideBy, Decision, Policy, decide
from holisafe.records import AnswerVerdict, GuardVerdict
from holisafe.taxonomy import SUBCATEGORIES, Category, GuardLabel, Subcategory

MODEL = "holisafe"
"""The name under which clients ask for the guard."""

PREFIX = "holisafe/"


def decision(verdict: GuardVerdict, decide_by: DecideBy) -> Decision:
    """Whether a verdict flags, why, and the refusal that would stand in place of an answer."""
    return decide(Policy.REFUSE, verdict.images, verdict.request, decide_by)


def result(verdict: GuardVerdict, decide_by: DecideBy) -> dict[str, Any]:
    """`flagged`, `categories`, `category_scores` and `category_applied_input_types` of one input."""
    scores, reasons, applied = _of_images(verdict)
    if verdict.request is not None:
        for category, share in verdict.request.categories.items():
            for name in names_of_category(category):
                scores[name] = max(scores[name], verdict.request.unsafe * share)
                applied[name] = ["text", *applied[name]]
        if verdict.request.flagged:
            top = max(verdict.request.categories, key=verdict.request.categories.__getitem__)
            reasons.update(names_of_category(top))
    return {
        "flagged": decision(verdict, decide_by).flagged,
        "categories": {name: name in reasons for name in scores},
        "category_scores": scores,
        "category_applied_input_types": applied,
    }


def result_of_answer(verdict: AnswerVerdict) -> dict[str, Any]:
    """The same of an answer: harm, times the share of the categories that have one of OpenAI's names."""
    scores = dict.fromkeys([*OPENAI_MODERATION.codes, *(PREFIX + label.value for label in GuardLabel)], 0.0)
    applied: dict[str, list[str]] = {name: [] for name in scores}
    for category, share in verdict.categories.items():
        for name in names_of_category(category):
            scores[name] = max(scores[name], verdict.unsafe * share)
            applied[name] = ["text"]
    top = max(verdict.categories, key=verdict.categories.__getitem__, default=None)
    reasons = names_of_category(top) if verdict.flagged and top is not None else ()
    return {
        "flagged": verdict.flagged,
        "categories": {name: name in reasons for name in scores},
        "category_scores": scores,
        "category_applied_input_types": applied,
    }


def moderation_results(found: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a field of `moderation` of a chat completion."""
    return {"type": "moderation_results", "model": MODEL, "results": [moderation_result(found)]}


def moderation_result(found: Mapping[str, Any]) -> dict[str, Any]:
    """A result as a field of `moderation` of a response."""
    return {"type": "moderation_result", "model": MODEL, **found}


def moderation_error(code: str, message: str) -> dict[str, Any]:
    """What stands there where nothing was judged."""
    return {"type": "error", "code": code, "message": message}


def image_safety(verdict: GuardVerdict) -> list[dict[str, Any]]:
    """One object per image, in the order of the request."""
    return [each.to_json() for each in verdict.images]


def request_safety(verdict: GuardVerdict) -> dict[str, Any] | None:
    """The verdict on the whole request; None without one."""
    return None if verdict.request is None else verdict.request.to_json()


@cache
def names_of(subcategory: Subcategory) -> tuple[str, ...]:
    """The nearest of OpenAI's names, and our own."""
    return (*OPENAI_MODERATION.codes_of(subcategory)[:1], PREFIX + subcategory.value)


@cache
def names_of_category(category: Category) -> tuple[str, ...]:
    """The name that is nearest for at least half of its subcategories, if any."""
    below = [subcategory for subcategory, above in SUBCATEGORIES.items() if above is category]
    nearest = [OPENAI_MODERATION.codes_of(subcategory)[:1] for subcategory in below]
    return next((each for each in nearest if each and 2 * nearest.count(each) >= len(below)), ())


def _of_images(verdict: GuardVerdict) -> tuple[dict[str, float], set[str], dict[str, list[str]]]:
    """Scores, names that are true, and what they are from, by the image verdicts."""
    names = [*OPENAI_MODERATION.codes, *(PREFIX + label.value for label in GuardLabel)]
    scores = dict.fromkeys(names, 0.0)
    applied: dict[str, list[str]] = {name: [] for name in names}
    reasons: set[str] = set()
    for image in verdict.images:
        for name, score in _scores(image.distribution).items():
            scores[name] = max(scores[name], min(score, 1.0))
            applied[name] = ["image"]
        if image.flagged:
            kinds = {label: p for label, p in image.distribution.items() if label is not GuardLabel.SAFE}
            reason = max(kinds, key=kinds.__getitem__).subcategory
            reasons.update(names_of(reason) if reason else ())
    safe = PREFIX + GuardLabel.SAFE.value
    if verdict.images:
        scores[safe] = min(each.distribution.get(GuardLabel.SAFE, 0.0) for each in verdict.images)
    return scores, reasons, applied


def _scores(distribution: Mapping[GuardLabel, float]) -> dict[str, float]:
    """Probability of each name for one image: labels exclude each other, so theirs add up."""
    scores: dict[str, float] = {}
    for label, probability in distribution.items():
        names = names_of(label.subcategory) if label.subcategory else (PREFIX + label.value,)
        for name in names:
            scores[name] = scores.get(name, 0.0) + probability
    return scores
