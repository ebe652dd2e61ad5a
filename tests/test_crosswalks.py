import pytest

from holisafe.crosswalks import (
    CROSSWALKS,
    LLAMA_GUARD,
    LLAVAGUARD,
    MLCOMMONS,
    OPENAI_MODERATION,
    SHIELDGEMMA,
    Crosswalk,
    NoEquivalent,
)
from holisafe.errors import UnknownNameError
from holisafe.taxonomy import Subcategory

every_crosswalk = pytest.mark.parametrize("crosswalk", CROSSWALKS, ids=lambda crosswalk: crosswalk.name)


@every_crosswalk
def test_every_subcategory_has_an_entry(crosswalk: Crosswalk) -> None:
    assert set(crosswalk.entries) == set(Subcategory)


@every_crosswalk
def test_every_entry_has_existing_codes_or_a_reason(crosswalk: Crosswalk) -> None:
    for subcategory, entry in crosswalk.entries.items():
        if isinstance(entry, NoEquivalent):
            assert entry.reason, subcategory
            assert crosswalk.codes_of(subcategory) == ()
        else:
            assert entry and len(set(entry)) == len(entry), subcategory
            assert set(entry) <= set(crosswalk.codes), subcategory


@every_crosswalk
def test_looking_up_a_code_is_the_inverse_of_looking_up_a_subcategory(crosswalk: Crosswalk) -> None:
    forward = {(s, code) for s in Subcategory for code in crosswalk.codes_of(s)}
    backward = {(s, code) for code in crosswalk.codes for s in crosswalk.subcategories_of(code)}
    assert forward == backward


@every_crosswalk
def test_an_unknown_code_is_refused(crosswalk: Crosswalk) -> None:
    with pytest.raises(UnknownNameError):
        crosswalk.subcategories_of("no such code")


def test_each_taxonomy_has_as_many_codes_as_its_publishers_say() -> None:
    sizes = {crosswalk.name: len(crosswalk.codes) for crosswalk in CROSSWALKS}
    assert sizes == {
        "mlcommons": 12,
        "llama_guard": 14,
        "llavaguard": 9,
        "shieldgemma": 3,
        "openai_moderation": 13,
    }


def test_llama_guard_and_mlcommons_agree_on_the_hazards_they_share() -> None:
    for subcategory in Subcategory:
        titles = [LLAMA_GUARD.codes[code] for code in LLAMA_GUARD.codes_of(subcategory)]
        assert titles == [MLCOMMONS.codes[code] for code in MLCOMMONS.codes_of(subcategory)]


@pytest.mark.parametrize(
    ("crosswalk", "subcategory", "codes"),
    [
        (LLAMA_GUARD, Subcategory.SUICIDE, ("S11",)),
        (LLAMA_GUARD, Subcategory.MEDICAL_ADVICE, ("S6",)),
        (MLCOMMONS, Subcategory.PROPERTY_CRIME, ("ncr",)),
        (LLAVAGUARD, Subcategory.ANIMAL_ABUSE, ("O8",)),
        (SHIELDGEMMA, Subcategory.SEXUAL_CONTENT, ("sexual",)),
        (SHIELDGEMMA, Subcategory.RACE, ()),
        (OPENAI_MODERATION, Subcategory.DRUG_RELATED_HAZARDS, ("illicit",)),
    ],
)
def test_known_pairs(crosswalk: Crosswalk, subcategory: Subcategory, codes: tuple[str, ...]) -> None:
    assert crosswalk.codes_of(subcategory) == codes
