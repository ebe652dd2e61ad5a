"""What can be harmful, and where it sits: combinations, categories, subcategories and the guard's labels.

One canonical table (`SUBCATEGORIES`) from which every other view derives. Ids are those of the released
HoliSafe-Bench data; the released image heads spell three of them differently and use an order of their own. Names
read from files go through `parse_label`, `parse_subcategory` and `parse_category`, which know both spellings.
Source: HoliSafe, arXiv 2506.04704, section 3 and the released data and model configurations.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from holisafe.errors import UnknownNameError


class Combination(StrEnum):
    """Safety of the image, of the query, and of the two together (S safe, U unsafe), in this order."""

    SSS = "SSS"
    SSU = "SSU"
    USU = "USU"
    UUU = "UUU"
    SUU = "SUU"

    @property
    def is_safe(self) -> bool:
        """Whether a helpful answer is right; for the other four a refusal is."""
        return self is Combination.SSS

    @property
    def image_is_safe(self) -> bool:
        """Whether the image alone is safe."""
        return self.value[0] == "S"

    @property
    def query_is_safe(self) -> bool:
        """Whether the query alone is safe."""
        return self.value[1] == "S"

    @property
    def notation(self) -> str:
        """The paper's notation, e.g. "S_I S_T → U"."""
        image, query, both = self.value
        return f"{image}_I {query}_T → {both}"


UNSAFE_COMBINATIONS: tuple[Combination, ...] = (Combination.SSU, Combination.USU, Combination.UUU, Combination.SUU)


class Category(StrEnum):
    """The seven categories, by their ids in the released data."""

    HATE = "hate"
    VIOLENCE = "violence"
    ILLEGAL_ACTIVITY = "illegal_activity"
    SPECIALIZED_ADVICE = "specialized_advice"
    SELF_HARM = "self_harm"
    PRIVACY = "privacy"
    SEXUAL_CONTENT = "sexual_content"

    @property
    def display_name(self) -> str:
        """Name to show a reader, e.g. "Illegal activity"."""
        return self.value.replace("_", " ").capitalize()


class Subcategory(StrEnum):
    """The nineteen subcategories, by their ids in the released data (the paper's text counts 18)."""

    GENDER = "gender"
    RACE = "race"
    RELIGION = "religion"
    DISABILITY_DISCRIMINATION = "disability_discrimination"
    HARASSMENT = "harassment"
    ANIMAL_ABUSE = "animal_abuse"
    OBSCENE_GESTURES = "obscene_gestures"
    PHYSICAL_ALTERCATION = "physical_altercation"
    TERRORISM = "terrorism"
    WEAPON_RELATED_VIOLENCE = "weapon_related_violence"
    DRUG_RELATED_HAZARDS = "drug_related_hazards"
    PROPERTY_CRIME = "property_crime"
    PHYSICAL_SELF_INJURY = "physical_self_injury"
    SUICIDE = "suicide"
    FACIAL_DATA_EXPOSURE = "facial_data_exposure"
    IDENTITY_DATA_EXPOSURE = "identity_data_exposure"
    SEXUAL_CONTENT = "sexual_content"
    FINANCIAL_ADVICE = "financial_advice"
    MEDICAL_ADVICE = "medical_advice"

    @property
    def category(self) -> Category:
        """The category it belongs to."""
        return SUBCATEGORIES[self]

    @property
    def display_name(self) -> str:
        """Name to show a reader, e.g. "Property crime"."""
        return self.value.replace("_", " ").capitalize()


class GuardLabel(StrEnum):
    """What a guard can say of an image: safe, or one of the nineteen subcategories, by their data ids."""

    SAFE = "safe"
    GENDER = "gender"
    RACE = "race"
    RELIGION = "religion"
    HARASSMENT = "harassment"
    DISABILITY_DISCRIMINATION = "disability_discrimination"
    DRUG_RELATED_HAZARDS = "drug_related_hazards"
    PROPERTY_CRIME = "property_crime"
    FACIAL_DATA_EXPOSURE = "facial_data_exposure"
    IDENTITY_DATA_EXPOSURE = "identity_data_exposure"
    PHYSICAL_SELF_INJURY = "physical_self_injury"
    SUICIDE = "suicide"
    ANIMAL_ABUSE = "animal_abuse"
    OBSCENE_GESTURES = "obscene_gestures"
    PHYSICAL_ALTERCATION = "physical_altercation"
    TERRORISM = "terrorism"
    WEAPON_RELATED_VIOLENCE = "weapon_related_violence"
    SEXUAL_CONTENT = "sexual_content"
    FINANCIAL_ADVICE = "financial_advice"
    MEDICAL_ADVICE = "medical_advice"

    @property
    def index(self) -> int:  # type: ignore[override]  # the released data's word; labels are no text to search
        """Index in the released image heads, 0 (safe) to 19; also `image_safety_label` in the released data."""
        return _INDEX_OF[self]

    @property
    def subcategory(self) -> Subcategory | None:
        """The subcategory it names; None for safe."""
        return None if self is GuardLabel.SAFE else Subcategory(self.value)

    @property
    def head_name(self) -> str:
        """Its spelling in the configurations of the released image heads, e.g. "gender_discrimination"."""
        return _HEAD_NAMES.get(self, self.value)


SUBCATEGORIES: dict[Subcategory, Category] = {
    Subcategory.GENDER: Category.HATE,
    Subcategory.RACE: Category.HATE,
    Subcategory.RELIGION: Category.HATE,
    Subcategory.DISABILITY_DISCRIMINATION: Category.HATE,
    Subcategory.HARASSMENT: Category.HATE,
    Subcategory.ANIMAL_ABUSE: Category.VIOLENCE,
    Subcategory.OBSCENE_GESTURES: Category.VIOLENCE,
    Subcategory.PHYSICAL_ALTERCATION: Category.VIOLENCE,
    Subcategory.TERRORISM: Category.VIOLENCE,
    Subcategory.WEAPON_RELATED_VIOLENCE: Category.VIOLENCE,
    Subcategory.DRUG_RELATED_HAZARDS: Category.ILLEGAL_ACTIVITY,
    Subcategory.PROPERTY_CRIME: Category.ILLEGAL_ACTIVITY,
    Subcategory.PHYSICAL_SELF_INJURY: Category.SELF_HARM,
    Subcategory.SUICIDE: Category.SELF_HARM,
    Subcategory.FACIAL_DATA_EXPOSURE: Category.PRIVACY,
    Subcategory.IDENTITY_DATA_EXPOSURE: Category.PRIVACY,
    Subcategory.SEXUAL_CONTENT: Category.SEXUAL_CONTENT,
    Subcategory.FINANCIAL_ADVICE: Category.SPECIALIZED_ADVICE,
    Subcategory.MEDICAL_ADVICE: Category.SPECIALIZED_ADVICE,
}
"""The canonical table: every subcategory with its category, in the order of the data (grouped by category)."""

HEAD_ORDER: tuple[GuardLabel, ...] = tuple(GuardLabel)
"""The labels in the order of the released image heads: position = index = `image_safety_label`."""

DATA_ORDER: tuple[GuardLabel, ...] = (GuardLabel.SAFE, *(GuardLabel(name.value) for name in SUBCATEGORIES))
"""The labels in the order of the data: safe first, then grouped by category; for tables that people read."""

_INDEX_OF: dict[GuardLabel, int] = {label: index for index, label in enumerate(HEAD_ORDER)}
_HEAD_NAMES: dict[GuardLabel, str] = {
    GuardLabel.GENDER: "gender_discrimination",
    GuardLabel.RACE: "race_discrimination",
    GuardLabel.RELIGION: "religion_discrimination",
}
_Name = TypeVar("_Name", bound=StrEnum)


def parse_label(name: str) -> GuardLabel:
    """The guard label of that name, in either spelling; case, spaces and hyphens do not matter.

    Raises:
        UnknownNameError: There is none; the message offers the closest.
    """
    return _parse("guard label", name, GuardLabel, {head: label for label, head in _HEAD_NAMES.items()})


def parse_subcategory(name: str) -> Subcategory:
    """The subcategory of that name, in either spelling; case, spaces and hyphens do not matter.

    Raises:
        UnknownNameError: There is none; the message offers the closest.
    """
    others = {head: Subcategory(label.value) for label, head in _HEAD_NAMES.items()}
    return _parse("subcategory", name, Subcategory, others)


def parse_category(name: str) -> Category:
    """The category of that name; case, spaces and hyphens do not matter.

    Raises:
        UnknownNameError: There is none; the message offers the closest.
    """
    return _parse("category", name, Category, {})


def _parse(kind: str, name: str, members: Iterable[_Name], others: dict[str, _Name]) -> _Name:
    known = {member.value: member for member in members} | others
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    if key not in known:
        raise UnknownNameError(kind, name, known)
    return known[key]
