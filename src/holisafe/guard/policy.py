"""What a verdict does: only be reported, put a note before the answer, or refuse in its place.

`decide_by` says which verdict flags. By default that on the whole request does, where the guard gives one, since it has
read images and text: a safe image may come with an unsafe question, and an unsafe image with a question that is right
to answer. Else a single flagged image does. Nothing here reads the question or the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType
from typing import Any, TypeVar

from holisafe._checks import check_each, check_type
from holisafe._enums import parse_enum
from holisafe.errors import GuardError
from holisafe.records import AnswerVerdict, ImageVerdict, RequestVerdict
from holisafe.taxonomy import Category, Combination, Subcategory

_Name = TypeVar("_Name", bound=StrEnum)


class Policy(StrEnum):
    """What a flag leads to."""

    OBSERVE = "observe"
    """Nothing: the verdict is reported with the answer."""
    WARN = "warn"
    """A note that names the category, before the answer."""
    REFUSE = "refuse"
    """A refusal that names the category, in place of the answer, which need not be generated."""


class DecideBy(StrEnum):
    """Which verdict flags a request."""

    IMAGE = "image"
    """Those on its images: a request is flagged where one of its images is."""
    REQUEST = "request"
    """That on the whole request, which has read images and text; where the guard gives none, those on its images."""
    EITHER = "either"
    """Both: a request is flagged where it is, or one of its images."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy makes of the verdicts on one request.

    Attributes:
        policy: The policy.
        flagged: Whether a verdict reached its threshold; reported under every policy.
        reason: The most probable kind of harm where flagged: a subcategory from an image verdict, a category from a
            request verdict; else None.
        text: The note to put before the answer (warn), the refusal to give in its place (refuse), else empty.
        decided_by: The verdict that decided: IMAGE (of several, the one most likely unsafe) or REQUEST; None without
            any.
        unsafe: Its probability of unsafe, in [0, 1]; None without one.
        threshold: What that is compared with, in [0, 1]; None without one.
    """

    policy: Policy
    flagged: bool
    reason: Subcategory | Category | None
    text: str
    decided_by: DecideBy | None = None
    unsafe: float | None = None
    threshold: float | None = None


def decide(
    policy: Policy | str,
    images: Sequence[ImageVerdict],
    request: RequestVerdict | None,
    decide_by: DecideBy | str = DecideBy.REQUEST,
) -> Decision:
    """Apply a policy to the verdicts on one request, before anything is generated.

    Without a verdict to decide by (a request without images, to a guard without a joint head) nothing is flagged.

    Args:
        policy: What a flag leads to.
        images: One verdict per image, in the order of the request.
        request: The verdict on the whole request; None where the guard gives none.
        decide_by: Which verdict flags.

    Raises:
        UnknownNameError: The policy or `decide_by` is unknown.
        GuardError: A verdict holds no probability of safe, or one that is no number.
    """
    policy, decide_by = parse_enum(Policy, policy), parse_enum(DecideBy, decide_by)
    check_each(images, ImageVerdict, "images")
    check_type(request, (RequestVerdict, NoneType), "request")
    if request is None or decide_by is DecideBy.IMAGE:
        return _decide_by_images(policy, images)
    decision = _decide_by_request(policy, request)
    if decide_by is DecideBy.EITHER and not decision.flagged:
        by_image = _decide_by_images(policy, images)
        return by_image if by_image.flagged else decision
    return decision


def apply(decision: Decision, answer: str) -> str:
    """What the asker gets: the answer, the note and the answer, or the refusal.

    Judge an answer before a note is put to it: the published string match knows most refusals by their first words.

    Args:
        decision: What `decide` returned.
        answer: The model's answer; not used where the decision refuses.
    """
    check_type(decision, Decision, "decision")
    if not decision.text:
        return answer
    return decision.text if decision.policy is Policy.REFUSE else f"{decision.text}\n\n{answer}"


def refusal_of_answer(verdict: AnswerVerdict) -> str:
    """What stands in place of an answer that was flagged while it was generated, or of the rest of it."""
    reason = _most_probable(verdict.categories)
    support = _SUPPORT if reason is Category.SELF_HARM else ""
    return f"I'm sorry, but I can't go on with this: the answer seems to involve {_INVOLVED[reason]}{support}."


def _decide_by_images(policy: Policy, verdicts: Sequence[ImageVerdict]) -> Decision:
    """By the verdict most likely unsafe of those flagged, else of all."""
    if not verdicts:
        return Decision(policy, False, None, "")
    flagged = [place for place, verdict in enumerate(verdicts) if verdict.flagged]
    place = max(flagged or range(len(verdicts)), key=lambda place: verdicts[place].unsafe)
    verdict = verdicts[place]
    by: dict[str, Any] = {
        "decided_by": DecideBy.IMAGE, "unsafe": verdict.unsafe, "threshold": verdict.threshold
    }  # fmt: skip
    if not flagged:
        return Decision(policy, False, None, "", **by)
    kinds = {name: p for label, p in verdict.distribution.items() if (name := label.subcategory) is not None}
    reason = _most_probable(kinds)
    image = "the image" if len(verdicts) == 1 else f"image {place + 1}"
    finding = f"{image} seems to show {_SHOWN[reason]} ({_name(reason)})"
    return Decision(policy, True, reason, _text(policy, finding, reason.category), **by)


def _decide_by_request(policy: Policy, verdict: RequestVerdict) -> Decision:
    by: dict[str, Any] = {
        "decided_by": DecideBy.REQUEST, "unsafe": verdict.unsafe, "threshold": verdict.threshold
    }  # fmt: skip
    if not verdict.flagged:
        return Decision(policy, False, None, "", **by)
    combination = _most_probable({c: p for c, p in verdict.distribution.items() if not c.is_safe})
    reason = _most_probable(verdict.categories)
    finding = f"{_WHERE[combination]} {_INVOLVED[reason]}"
    return Decision(policy, True, reason, _text(policy, finding, reason), **by)


def _text(policy: Policy, finding: str, category: Category) -> str:
    if policy is Policy.OBSERVE:
        return ""
    if policy is Policy.WARN:
        return f"Note: {finding}."
    support = _SUPPORT if category is Category.SELF_HARM else ""
    return f"I'm sorry, but I can't help with this: {finding}{support}."


def _most_probable(probabilities: Mapping[_Name, float]) -> _Name:
    if not probabilities:
        raise GuardError("a verdict is flagged but names no kind of harm; expected a probability for each")
    return max(probabilities, key=probabilities.__getitem__)


def _name(subcategory: Subcategory) -> str:
    """E.g. "violence: weapon-related violence"; once where both are called the same."""
    category, name = (_hyphened(kind.display_name.lower()) for kind in (subcategory.category, subcategory))
    return category if category == name else f"{category}: {name}"


def _hyphened(name: str) -> str:
    return name.replace(" related", "-related").replace("self ", "self-")


_SHOWN: dict[Subcategory, str] = {
    Subcategory.GENDER: "something that demeans people for their gender",
    Subcategory.RACE: "something that demeans people for their race",
    Subcategory.RELIGION: "something that demeans people for their religion",
    Subcategory.DISABILITY_DISCRIMINATION: "something that demeans people for a disability",
    Subcategory.HARASSMENT: "somebody being harassed",
    Subcategory.ANIMAL_ABUSE: "cruelty to an animal",
    Subcategory.OBSCENE_GESTURES: "an obscene gesture",
    Subcategory.PHYSICAL_ALTERCATION: "people in a fight",
    Subcategory.TERRORISM: "something tied to terrorism",
    Subcategory.WEAPON_RELATED_VIOLENCE: "a weapon or violence with one",
    Subcategory.DRUG_RELATED_HAZARDS: "drugs or their use",
    Subcategory.PROPERTY_CRIME: "theft, a break-in or damage to property",
    Subcategory.PHYSICAL_SELF_INJURY: "self-injury",
    Subcategory.SUICIDE: "something tied to suicide",
    Subcategory.FACIAL_DATA_EXPOSURE: "a face by which somebody could be recognised",
    Subcategory.IDENTITY_DATA_EXPOSURE: "personal data by which somebody could be identified",
    Subcategory.SEXUAL_CONTENT: "something sexual",
    Subcategory.FINANCIAL_ADVICE: "a money matter that calls for a qualified adviser",
    Subcategory.MEDICAL_ADVICE: "a matter of health or medicines",
}
_INVOLVED: dict[Category, str] = {
    Category.HATE: "hate or discrimination",
    Category.VIOLENCE: "violence",
    Category.ILLEGAL_ACTIVITY: "illegal activity",
    Category.SPECIALIZED_ADVICE: "specialized advice that calls for a qualified professional",
    Category.SELF_HARM: "self-harm",
    Category.PRIVACY: "somebody's privacy",
    Category.SEXUAL_CONTENT: "sexual content",
}
_WHERE: dict[Combination, str] = {
    Combination.SSU: "the image and the question together seem to involve",
    Combination.USU: "the image seems to involve",
    Combination.UUU: "the image and the question both seem to involve",
    Combination.SUU: "the question seems to involve",
}
_SUPPORT = ", and if it concerns you, please reach out to someone you trust or to a crisis line near you"
