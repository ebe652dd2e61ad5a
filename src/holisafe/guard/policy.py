"""What a verdict does: only be reported, put a note before the answer, or refuse in its place.

Where there is a joint verdict it decides alone, since it has seen image and question: a safe image may come with an
unsafe question, and an unsafe image with a question that is right to answer. Else a single flagged image decides.
Nothing here reads the question or the answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from holisafe.errors import GuardError
from holisafe.records import ImageVerdict, RequestVerdict
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

_Name = TypeVar("_Name", bound=StrEnum)


class Policy(StrEnum):
    """What a flag leads to."""

    OBSERVE = "observe"
    """Nothing: the verdict is reported with the answer."""
    WARN = "warn"
    """A note that names the category, before the answer."""
    REFUSE = "refuse"
    """A refusal that names the category, in place of the answer, which need not be generated."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy makes of the verdicts on one request.

    Attributes:
        policy: The policy.
        flagged: Whether a verdict reached its threshold; reported under every policy.
        reason: The most probable kind of harm where flagged: a subcategory from an image verdict, a category from a
            joint verdict; else None.
        text: The note to put before the answer (warn), the refusal to give in its place (refuse), else empty.
    """

    policy: Policy
    flagged: bool
    reason: Subcategory | Category | None
    text: str


def decide(policy: Policy, image_verdicts: Sequence[ImageVerdict], joint: RequestVerdict | None) -> Decision:
    """Apply a policy to the verdicts on one request, before anything is generated.

    Without any verdict (a request without images, to a guard without a joint head) nothing is flagged.

    Args:
        policy: What a flag leads to.
        image_verdicts: One per image, in the order of the request.
        joint: The verdict on image and question together, which decides alone; None where the guard gives none.

    Raises:
        GuardError: A verdict holds no probability of safe, or one that is no number.
    """
    if joint is not None:
        return _decide_jointly(policy, joint)
    flagged = [place for place, verdict in enumerate(image_verdicts) if is_image_flagged(verdict)]
    if not flagged:
        return Decision(policy, False, None, "")
    place = max(flagged, key=lambda place: unsafe_probability(image_verdicts[place]))
    distribution = image_verdicts[place].distribution
    reason = _most_probable({n: p for label, p in distribution.items() if (n := label.subcategory) is not None})
    image = "the image" if len(image_verdicts) == 1 else f"image {place + 1}"
    finding = f"{image} seems to show {_SHOWN[reason]} ({_name(reason)})"
    return Decision(policy, True, reason, _text(policy, finding, reason.category))


def apply(decision: Decision, answer: str) -> str:
    """What the asker gets: the answer, the note and the answer, or the refusal.

    Judge an answer before a note is put to it: the published string match knows most refusals by their first words.

    Args:
        decision: What `decide` returned.
        answer: The model's answer; not used where the decision refuses.
    """
    if not decision.text:
        return answer
    return decision.text if decision.policy is Policy.REFUSE else f"{decision.text}\n\n{answer}"


def is_image_flagged(verdict: ImageVerdict) -> bool:
    """Whether the probability that the image is unsafe reaches the threshold.

    Raises:
        GuardError: The verdict holds no probability of safe, or one that is no number.
    """
    return unsafe_probability(verdict) >= verdict.threshold


def is_joint_flagged(verdict: RequestVerdict) -> bool:
    """Whether the probability that the request is unsafe (all but SSS) reaches the threshold.

    Raises:
        GuardError: The verdict holds no probability of SSS, or one that is no number.
    """
    return unsafe_probability(verdict) >= verdict.threshold


def unsafe_probability(verdict: ImageVerdict | RequestVerdict) -> float:
    """1 - P(safe) of an image, 1 - P(SSS) of a request: what thresholds are held against.

    Raises:
        GuardError: The verdict holds no probability of safe, or one that is no number.
    """
    if isinstance(verdict, ImageVerdict):
        safe = verdict.distribution.get(GuardLabel.SAFE)
    else:
        safe = verdict.distribution.get(Combination.SSS)
    if safe is None or not 0 <= safe <= 1:
        raise GuardError(f"a verdict's probability of safe is {safe}; expected a number in [0, 1] to decide on")
    return 1 - safe


def _decide_jointly(policy: Policy, joint: RequestVerdict) -> Decision:
    if not is_joint_flagged(joint):
        return Decision(policy, False, None, "")
    combination = _most_probable({c: p for c, p in joint.distribution.items() if not c.is_safe})
    reason = _most_probable(joint.categories)
    finding = f"{_WHERE[combination]} {_INVOLVED[reason]}"
    return Decision(policy, True, reason, _text(policy, finding, reason))


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
    Subcategory.MEDICAL_ADVICE: "a health matter that calls for a doctor",
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
