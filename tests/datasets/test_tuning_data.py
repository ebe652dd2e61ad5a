"""Data to tune on, made of HoliSafe-Open's twins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holisafe import datasets
from holisafe.cli import app
from holisafe.datasets.open import open_images, preference_pairs, several_images
from holisafe.errors import DataError
from holisafe.records import Sample
from holisafe.taxonomy import Combination

SPLIT = "calibration"


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return datasets.load("open", SPLIT)


@pytest.fixture(scope="module")
def shows() -> dict[str, str]:
    return {row["key"]: row["shows"] for row in open_images(SPLIT)}


def test_what_is_right_for_one_twin_is_the_worse_answer_for_the_other(samples: list[Sample]) -> None:
    made = preference_pairs(samples)
    by_id = {sample.id: sample for sample in made}
    assert len(made) == sum(bool(sample.twin) for sample in samples) > 50
    assert {each.expected for each in made} == {"answer", "refuse"}
    for each in made:
        twin = by_id[each.twin or ""]
        assert each.rejected == twin.reference != each.reference
        assert each.expected is not twin.expected


@pytest.mark.parametrize("count", [2, 3])
def test_an_answer_describes_each_image_relates_them_and_decides(
    samples: list[Sample], shows: Mapping[str, str], count: int
) -> None:
    of = {sample.id: sample for sample in samples}
    for made in several_images(samples, shows, images=count):
        original = of[made.id.removesuffix("-images")]
        things = [shows[ref.key] for ref in made.images]
        assert len(things) == count == len(set(things)) == len(made.image_labels)
        place = [ref.digest for ref in made.images].index(original.images[0].digest)
        described, rest = (made.reference or "").split(". ", 1)
        assert [described.index(thing) for thing in things] == sorted(described.index(thing) for thing in things)
        related = rest.removesuffix(f" {original.reference}")
        assert related != rest and ("first", "second", "third")[place] in related and things[place] in related
        assert ("first", "second", "third")[place] in made.query and original.query in made.query
        assert made.combination is original.combination


def test_both_requests_of_a_pair_show_the_same_images_in_the_same_order(
    samples: list[Sample], shows: Mapping[str, str]
) -> None:
    made = several_images(samples, shows)
    by_id = {sample.id: sample for sample in made}
    assert Counter(each.combination for each in made) == dict.fromkeys(
        (Combination.SSU, Combination.SSS), len(made) // 2
    )
    for each in made:
        twin = by_id[each.twin or ""]
        assert [ref.digest for ref in each.images] == [ref.digest for ref in twin.images]
        assert each.cluster == twin.cluster and each.expected is not twin.expected


def test_the_place_that_is_asked_about_tells_nothing(samples: list[Sample], shows: Mapping[str, str]) -> None:
    places = Counter(
        (each.expected, next(word for word in ("first", "second") if f"the {word}" in each.query))
        for seed in range(4)
        for each in several_images(samples, shows, seed=seed)
    )
    assert min(places.values()) / max(places.values()) > 0.6


def test_the_same_seed_makes_the_same_data_and_another_does_not(
    samples: list[Sample], shows: Mapping[str, str]
) -> None:
    once = several_images(samples, shows, images=3)
    assert once == several_images(samples, shows, images=3)
    assert once != several_images(samples, shows, images=3, seed=1)


def test_no_twins_are_refused(samples: list[Sample], shows: Mapping[str, str]) -> None:
    alone = [replace(sample, twin=None) for sample in samples]
    with pytest.raises(DataError, match="no twins with references"):
        preference_pairs(alone)
    with pytest.raises(DataError, match="no twins with references"):
        several_images(alone, shows)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_other_numbers_of_images_are_refused(samples: list[Sample], shows: Mapping[str, str], count: int) -> None:
    with pytest.raises(DataError, match="expected 2 to 3"):
        several_images(samples, shows, images=count)


def test_an_image_of_which_nothing_is_known_is_named(samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="it is not said what its image"):
        several_images(samples, {})


@pytest.mark.parametrize("command", ["pairs", "mirage"])
def test_the_command_keeps_splits_and_artworks_apart(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", command, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert datasets.split_names(tmp_path) == sorted(set(datasets.split_names("open")) - {"photo"})  # has no twins
    seen: dict[str, str] = {}
    for split in datasets.split_names(tmp_path):
        loaded = datasets.read(tmp_path, split)
        artworks = {row["key"]: row["artworks"] for row in open_images(split)}
        assert loaded.samples and not loaded.broken
        for sample in loaded.samples:
            assert (sample.rejected is not None) is (command == "pairs")
            assert len(sample.images) == (2 if command == "mirage" else 1)
            for artwork in (name for ref in sample.images for name in artworks[ref.key]):
                assert seen.setdefault(artwork, split) == split


def test_the_command_takes_versions_of_the_open_set_alone(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "mirage", "pocket", "--out", str(tmp_path)])
    assert done.exit_code != 0
