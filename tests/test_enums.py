"""Strings at the border are understood or refused by name."""

from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe._enums import parse_enum
from holisafe.errors import UnknownNameError
from holisafe.records import Behaviour, Outcome, Role
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

ENUMS: list[type[StrEnum]] = [Behaviour, Outcome, Role, Category, Combination, GuardLabel, Subcategory]
MEMBERS = [member for kind in ENUMS for member in kind]


@given(st.sampled_from(MEMBERS), st.sampled_from([str.lower, str.upper, str.title, str]), st.sampled_from(["", " "]))
def test_every_member_is_understood_by_name(member: StrEnum, change: object, space: str) -> None:
    written = f"{space}{change(member.value)}{space}"  # type: ignore[operator]
    assert parse_enum(type(member), written) is member
    assert parse_enum(type(member), member) is member


@given(st.sampled_from(ENUMS), st.one_of(st.text(), st.integers(), st.none()))
def test_anything_else_is_refused(kind: type[StrEnum], value: object) -> None:
    if str(value).strip().lower() in {member.value.lower() for member in kind}:
        return
    with pytest.raises(UnknownNameError):
        parse_enum(kind, value)  # type: ignore[arg-type]


def test_the_message_names_the_kind_and_offers_the_closest() -> None:
    class DecideBy(StrEnum):
        IMAGE = "image"
        REQUEST = "request"

    with pytest.raises(UnknownNameError, match=r"unknown decide by 'reqest'. Did you mean request\?"):
        parse_enum(DecideBy, "reqest")


def test_a_member_of_another_enum_is_not_taken_for_one_of_its_name() -> None:
    with pytest.raises(UnknownNameError):
        parse_enum(Behaviour, Outcome.REFUSED)
