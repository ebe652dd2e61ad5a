"""Families are data, read by one reader."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from holisafe.errors import HoliSafeError, RegistryError
from holisafe.families import Family, Grouping, family_of, register_family, registered_families


def test_a_family_without_an_entry_has_the_defaults() -> None:
    model = SimpleNamespace(config=SimpleNamespace(model_type="brand_new"))
    assert family_of(model) == Family("brand_new")
    assert Family("brand_new").grouping is Grouping.FEATURES


def test_every_entry_is_read_under_its_own_name() -> None:
    found = registered_families()
    assert found and all(family.model_type == name for name, family in found.items())
    assert found["smolvlm"].first == ("<row_1_col_1>",) and found["qwen2_vl"].projector_modules == ("merger",)


def test_a_family_is_not_registered_twice() -> None:
    with pytest.raises(RegistryError, match="llava"):
        register_family(Family("llava"))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"hight": "3"}, "x.json: new: unknown field hight; expected some of"),
        ({"first": "<image>"}, "x.json: new: first: expected a list of strings"),
        ({"first": [1]}, "x.json: new: first: expected a list of strings"),
        ({"image_token": 3}, "x.json: new: image_token: expected a string"),
        ({"grouping": "rnus"}, "unknown grouping 'rnus'. Did you mean runs"),
    ],
)
def test_a_broken_entry_is_named(values: dict[str, Any], match: str) -> None:
    with pytest.raises(HoliSafeError, match=match):
        Family.from_json("new", values, "x.json")
