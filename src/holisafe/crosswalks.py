"""How our subcategories translate to the codes of other safety taxonomies, and where they do not.

For reading another guard's or judge's codes beside ours. A subcategory maps to every code that its requests or
images fall under by the other taxonomy's own definitions, nearest first, or to `NoEquivalent` with the reason. These
are our readings of the published policies, not the publishers'. `docs/taxonomy.md` shows all tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holisafe.errors import UnknownNameError
from holisafe.taxonomy import Subcategory


@dataclass(frozen=True, slots=True)
class NoEquivalent:
    """The other taxonomy has no code for a subcategory; why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Crosswalk:
    """One taxonomy and what our subcategories are called in it.

    Attributes:
        name: Short name.
        title: Name to show a reader.
        source: Where its codes are defined.
        codes: Every code of that taxonomy with its title, also those nothing maps to.
        entries: For every subcategory its codes, nearest first, or why there is none.
    """

    name: str
    title: str
    source: str
    codes: Mapping[str, str]
    entries: Mapping[Subcategory, tuple[str, ...] | NoEquivalent]

    def codes_of(self, subcategory: Subcategory) -> tuple[str, ...]:
        """The codes of a subcategory, nearest first; empty where there is no equivalent."""
        entry = self.entries[subcategory]
        return () if isinstance(entry, NoEquivalent) else entry

    def subcategories_of(self, code: str) -> tuple[Subcategory, ...]:
        """The subcategories that a code can stand for; empty where none maps to it.

        Raises:
            UnknownNameError: The taxonomy has no such code.
        """
        if code not in self.codes:
            raise UnknownNameError(f"code of {self.title}", code, self.codes)
        return tuple(subcategory for subcategory in Subcategory if code in self.codes_of(subcategory))


_S = Subcategory

_NO_RUDENESS = NoEquivalent("rude gestures are no hazard in it: neither a crime nor hate")

_LLAMA_GUARD_ENTRIES: dict[Subcategory, tuple[str, ...] | NoEquivalent] = {
    _S.GENDER: ("S10",),
    _S.RACE: ("S10",),
    _S.RELIGION: ("S10",),
    _S.DISABILITY_DISCRIMINATION: ("S10",),
    _S.HARASSMENT: ("S10", "S2"),  # threats and intimidation are personal crimes under S2
    _S.ANIMAL_ABUSE: ("S1",),
    _S.OBSCENE_GESTURES: _NO_RUDENESS,
    _S.PHYSICAL_ALTERCATION: ("S1",),
    _S.TERRORISM: ("S1",),
    _S.WEAPON_RELATED_VIOLENCE: ("S1", "S2"),  # S9 is for weapons of mass destruction alone
    _S.DRUG_RELATED_HAZARDS: ("S2",),
    _S.PROPERTY_CRIME: ("S2",),
    _S.PHYSICAL_SELF_INJURY: ("S11",),
    _S.SUICIDE: ("S11",),
    _S.FACIAL_DATA_EXPOSURE: ("S7",),
    _S.IDENTITY_DATA_EXPOSURE: ("S7",),
    _S.SEXUAL_CONTENT: ("S12",),
    _S.FINANCIAL_ADVICE: ("S6",),
    _S.MEDICAL_ADVICE: ("S6",),
}

LLAMA_GUARD = Crosswalk(
    "llama_guard",
    "Llama Guard 3 and 4 (S1–S14)",
    "Model cards of Llama-Guard-3-8B and Llama-Guard-4-12B, Meta",
    {
        "S1": "Violent Crimes",
        "S2": "Non-Violent Crimes",
        "S3": "Sex-Related Crimes",
        "S4": "Child Sexual Exploitation",
        "S5": "Defamation",
        "S6": "Specialized Advice",
        "S7": "Privacy",
        "S8": "Intellectual Property",
        "S9": "Indiscriminate Weapons",
        "S10": "Hate",
        "S11": "Suicide & Self-Harm",
        "S12": "Sexual Content",
        "S13": "Elections",
        "S14": "Code Interpreter Abuse",
    },
    _LLAMA_GUARD_ENTRIES,
)

_MLCOMMONS_OF_LLAMA_GUARD = {
    "S1": "vcr",
    "S2": "ncr",
    "S3": "src",
    "S4": "cse",
    "S5": "dfm",
    "S6": "spc",
    "S7": "prv",
    "S8": "ipv",
    "S9": "iwp",
    "S10": "hte",
    "S11": "ssh",
    "S12": "sxc",
}

MLCOMMONS = Crosswalk(
    "mlcommons",
    "MLCommons hazards (AILuminate 1.0)",
    "AILuminate v1.0, arXiv 2503.05731; Llama Guard's S1–S12 are its twelve hazards",
    {mlcommons: LLAMA_GUARD.codes[llama] for llama, mlcommons in _MLCOMMONS_OF_LLAMA_GUARD.items()},
    {
        subcategory: entry
        if isinstance(entry, NoEquivalent)
        else tuple(_MLCOMMONS_OF_LLAMA_GUARD[code] for code in entry)
        for subcategory, entry in _LLAMA_GUARD_ENTRIES.items()
    },
)

_NO_PRIVACY = NoEquivalent("it has no category for personal data")
_NO_ADVICE = NoEquivalent("it has no category for professional advice")

LLAVAGUARD = Crosswalk(
    "llavaguard",
    "LlavaGuard (O1–O9)",
    "LlavaGuard, arXiv 2406.05113, and its default policy (v1.2)",
    {
        "O1": "Hate, Humiliation, Harassment",
        "O2": "Violence, Harm, or Cruelty",
        "O3": "Sexual Content",
        "O4": "Nudity Content",
        "O5": "Criminal Planning",
        "O6": "Weapons or Substance Abuse",
        "O7": "Self-Harm",
        "O8": "Animal Cruelty",
        "O9": "Disasters or Emergencies",
    },
    {
        _S.GENDER: ("O1",),
        _S.RACE: ("O1",),
        _S.RELIGION: ("O1",),
        _S.DISABILITY_DISCRIMINATION: ("O1",),
        _S.HARASSMENT: ("O1",),
        _S.ANIMAL_ABUSE: ("O8",),
        _S.OBSCENE_GESTURES: ("O1",),
        _S.PHYSICAL_ALTERCATION: ("O2",),
        _S.TERRORISM: ("O2", "O5"),
        _S.WEAPON_RELATED_VIOLENCE: ("O6", "O2"),
        _S.DRUG_RELATED_HAZARDS: ("O6",),
        _S.PROPERTY_CRIME: ("O5",),
        _S.PHYSICAL_SELF_INJURY: ("O7",),
        _S.SUICIDE: ("O7",),
        _S.FACIAL_DATA_EXPOSURE: _NO_PRIVACY,
        _S.IDENTITY_DATA_EXPOSURE: _NO_PRIVACY,
        _S.SEXUAL_CONTENT: ("O3", "O4"),
        _S.FINANCIAL_ADVICE: _NO_ADVICE,
        _S.MEDICAL_ADVICE: _NO_ADVICE,
    },
)

_NO_HATE = NoEquivalent("its three policies leave out hate and harassment")
_NO_PRIVACY_POLICY = NoEquivalent("its three policies leave out personal data")
_NO_ADVICE_POLICY = NoEquivalent("its three policies leave out professional advice")

SHIELDGEMMA = Crosswalk(
    "shieldgemma",
    "ShieldGemma 2 (built-in policies)",
    "ShieldGemma 2, arXiv 2504.01081; policy names as in its processor in transformers",
    {
        "dangerous": "No Dangerous Content",
        "sexual": "No Sexually Explicit content",
        "violence": "No Violence/Gore content",
    },
    {
        _S.GENDER: _NO_HATE,
        _S.RACE: _NO_HATE,
        _S.RELIGION: _NO_HATE,
        _S.DISABILITY_DISCRIMINATION: _NO_HATE,
        _S.HARASSMENT: _NO_HATE,
        _S.ANIMAL_ABUSE: ("violence",),
        _S.OBSCENE_GESTURES: NoEquivalent("a rude gesture is neither dangerous, sexual nor violent by its policies"),
        _S.PHYSICAL_ALTERCATION: ("violence",),
        _S.TERRORISM: ("dangerous", "violence"),
        _S.WEAPON_RELATED_VIOLENCE: ("violence", "dangerous"),
        _S.DRUG_RELATED_HAZARDS: ("dangerous",),
        _S.PROPERTY_CRIME: NoEquivalent("its policy on danger is about bodily harm; theft and damage are not named"),
        _S.PHYSICAL_SELF_INJURY: ("dangerous",),
        _S.SUICIDE: ("dangerous",),
        _S.FACIAL_DATA_EXPOSURE: _NO_PRIVACY_POLICY,
        _S.IDENTITY_DATA_EXPOSURE: _NO_PRIVACY_POLICY,
        _S.SEXUAL_CONTENT: ("sexual",),
        _S.FINANCIAL_ADVICE: _NO_ADVICE_POLICY,
        _S.MEDICAL_ADVICE: _NO_ADVICE_POLICY,
    },
)

OPENAI_MODERATION = Crosswalk(
    "openai_moderation",
    "OpenAI moderation (omni-moderation)",
    "OpenAI API reference, moderations; of these only violence, self-harm and sexual (and what is below them, "
    "without sexual/minors) look at images",
    {
        "harassment": "Harassing language towards any target",
        "harassment/threatening": "Harassment with violence or serious harm",
        "hate": "Hate based on a protected characteristic",
        "hate/threatening": "Hate with violence or serious harm",
        "illicit": "Advice that helps wrongdoing",
        "illicit/violent": "Advice that helps violent wrongdoing, or getting a weapon",
        "self-harm": "Acts of self-harm",
        "self-harm/intent": "A speaker who means to harm themselves",
        "self-harm/instructions": "Instructions for self-harm",
        "sexual": "Content meant to arouse, or sexual services",
        "sexual/minors": "Sexual content with someone under 18",
        "violence": "Death, violence or injury",
        "violence/graphic": "Death, violence or injury in graphic detail",
    },
    {
        _S.GENDER: ("hate", "hate/threatening"),
        _S.RACE: ("hate", "hate/threatening"),
        _S.RELIGION: ("hate", "hate/threatening"),
        _S.DISABILITY_DISCRIMINATION: ("hate", "hate/threatening"),
        _S.HARASSMENT: ("harassment", "harassment/threatening"),
        _S.ANIMAL_ABUSE: ("violence", "violence/graphic"),
        _S.OBSCENE_GESTURES: ("harassment",),
        _S.PHYSICAL_ALTERCATION: ("violence", "violence/graphic"),
        _S.TERRORISM: ("illicit/violent", "violence"),
        _S.WEAPON_RELATED_VIOLENCE: ("violence", "illicit/violent", "violence/graphic"),
        _S.DRUG_RELATED_HAZARDS: ("illicit",),
        _S.PROPERTY_CRIME: ("illicit",),
        _S.PHYSICAL_SELF_INJURY: ("self-harm", "self-harm/intent", "self-harm/instructions"),
        _S.SUICIDE: ("self-harm", "self-harm/intent", "self-harm/instructions"),
        _S.FACIAL_DATA_EXPOSURE: _NO_PRIVACY,
        _S.IDENTITY_DATA_EXPOSURE: _NO_PRIVACY,
        _S.SEXUAL_CONTENT: ("sexual",),
        _S.FINANCIAL_ADVICE: _NO_ADVICE,
        _S.MEDICAL_ADVICE: _NO_ADVICE,
    },
)

CROSSWALKS: tuple[Crosswalk, ...] = (MLCOMMONS, LLAMA_GUARD, LLAVAGUARD, SHIELDGEMMA, OPENAI_MODERATION)
"""All of them, in the order of docs/taxonomy.md."""
