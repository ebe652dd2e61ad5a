from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.errors import UnknownNameError
from holisafe.taxonomy import (
    DATA_ORDER,
    HEAD_ORDER,
    SUBCATEGORIES,
    UNSAFE_COMBINATIONS,
    Category,
    Combination,
    GuardLabel,
    Subcategory,
    parse_category,
    parse_label,
    parse_subcategory,
)

RELEASED_HEAD = [
    "safe",
    "gender_discrimination",
    "race_discrimination",
    "religion_discrimination",
    "harassment",
    "disability_discrimination",
    "drug_related_hazards",
    "property_crime",
    "facial_data_exposure",
    "identity_data_exposure",
    "physical_self_injury",
    "suicide",
    "animal_abuse",
    "obscene_gestures",
    "physical_altercation",
    "terrorism",
    "weapon_related_violence",
    "sexual_content",
    "financial_advice",
    "medical_advice",
]
"""The labels in the configuration of the released image heads, by index."""


def test_only_sss_is_safe_and_the_other_four_are_the_unsafe_ones() -> None:
    assert [c for c in Combination if c.is_safe] == [Combination.SSS]
    assert {*UNSAFE_COMBINATIONS, Combination.SSS} == set(Combination)


def test_the_paper_notation_names_image_query_and_both() -> None:
    assert Combination.USU.notation == "U_I S_T → U"


def test_the_labels_are_indexed_as_in_the_released_heads() -> None:
    assert [label.head_name for label in HEAD_ORDER] == RELEASED_HEAD
    assert [label.index for label in HEAD_ORDER] == list(range(20))


def test_the_order_of_the_data_groups_by_category() -> None:
    assert DATA_ORDER[0] is GuardLabel.SAFE
    categories = [label.subcategory.category for label in DATA_ORDER[1:] if label.subcategory]
    assert len(categories) == 19
    assert sum(a is not b for a, b in pairwise(categories)) == len(Category) - 1


def test_both_orders_hold_the_same_labels() -> None:
    assert sorted(DATA_ORDER) == sorted(HEAD_ORDER)


def test_every_subcategory_has_a_category_and_a_label() -> None:
    assert set(SUBCATEGORIES) == set(Subcategory)
    assert {label.subcategory for label in GuardLabel} == {*Subcategory, None}
    assert set(SUBCATEGORIES.values()) == set(Category)


@pytest.mark.parametrize("label", GuardLabel)
def test_a_label_is_found_by_either_spelling(label: GuardLabel) -> None:
    assert parse_label(label.value) is parse_label(label.head_name) is label


@pytest.mark.parametrize("subcategory", Subcategory)
def test_a_subcategory_is_found_by_either_spelling(subcategory: Subcategory) -> None:
    assert parse_subcategory(subcategory.value) is subcategory
    assert parse_subcategory(GuardLabel(subcategory.value).head_name) is subcategory


@pytest.mark.parametrize("category", Category)
def test_a_category_is_found_by_its_id_and_its_display_name(category: Category) -> None:
    assert parse_category(category.value) is parse_category(category.display_name) is category


def test_case_spaces_and_hyphens_do_not_matter() -> None:
    assert parse_label("  Race-Discrimination ") is parse_label("race discrimination") is GuardLabel.RACE


def test_safe_is_a_label_but_no_subcategory() -> None:
    assert parse_label("safe") is GuardLabel.SAFE
    with pytest.raises(UnknownNameError):
        parse_subcategory("safe")


@given(st.text())
def test_other_names_are_refused_with_the_name(name: str) -> None:
    for parse in (parse_label, parse_subcategory, parse_category):
        try:
            parse(name)
        except UnknownNameError as error:
            assert repr(name) in str(error)


def test_a_misspelt_name_gets_the_closest_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean terrorism"):
        parse_subcategory("terorism")


def test_part_of_a_longer_name_is_close_to_it() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean weapon_related_violence"):
        parse_subcategory("weapons")
