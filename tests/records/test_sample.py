"""Names are parsed wherever a person writes them."""

import pytest

from holisafe.errors import UnknownNameError
from holisafe.records import Behaviour, ImageRef, Role, Sample, Turn
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory


def test_every_enum_of_a_sample_is_understood_by_name() -> None:
    image = ImageRef("a", data=b"x")
    sample = Sample.ask("1", [image], "?", "sss", "Hate", "race_discrimination", image_labels=("safe",))
    assert sample.combination is Combination.SSS and sample.expected is Behaviour.ANSWER
    assert (sample.category, sample.subcategory) == (Category.HATE, Subcategory.RACE)
    assert sample.image_labels == (GuardLabel.SAFE,) and isinstance(sample.image_labels[0], GuardLabel)
    assert Sample.ask("1", (), "?", expected="Refuse").expected is Behaviour.REFUSE


@pytest.mark.parametrize(
    "fields",
    [
        {"combination": "SSX"},
        {"category": "hat"},
        {"subcategory": "rase"},
        {"expected": "reject"},
        {"image_labels": ("saef",)},
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(fields: dict[str, object]) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean|Known"):
        Sample.ask("1", (), "?", **fields)  # type: ignore[arg-type]


def test_a_role_is_understood_by_name() -> None:
    assert Turn.of("User", "Hello") == Turn(Role.USER, "Hello")
    with pytest.raises(UnknownNameError, match="unknown role 'usr'. Did you mean user"):
        Turn.of("usr", "Hello")
