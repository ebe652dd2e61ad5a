"""What can be harmful, and where it sits: combinations, categories, subcategories and the guard's labels.

One canonical table (`SUBCATEGORIES`) from which every other view is derived. Ids are those of the released
HoliSafe-Bench data; the released image heads spell three of them differently and use an order of their own.
Source: HoliSafe, arXiv 2506.04704, section 3 and the released data and model configurations.
"""

from __future__ import annotations

from enum import StrEnum


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
        return _CATEGORY_OF[self]

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
    def index(self) -> int:
        """Index in the released image heads, 0 (safe) to 19; also `image_safety_label` in the released data."""
        return _INDEX_OF[self]

    @property
    def subcategory(self) -> Subcategory | None:
        """The subcategory it names; None for safe."""
        return None if self is GuardLabel.SAFE else Subcategory(self.value)


_CATEGORY_OF: dict[Subcategory, Category] = {
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
_INDEX_OF: dict[GuardLabel, int] = {label: index for index, label in enumerate(GuardLabel)}
