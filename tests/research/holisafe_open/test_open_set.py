import hashlib
import io
import json
from collections import Counter
from functools import cache
from typing import Any

import pytest
from PIL import Image
from research.holisafe_open.kinds import read_table

from holisafe.datasets import load
from holisafe.datasets.open import load_open, open_images
from holisafe.datasets.open._load import data_folder
from holisafe.errors import UnknownNameError
from holisafe.records import Sample
from holisafe.taxonomy import Combination, GuardLabel, Subcategory

VERSION = 2
SPLITS = ("train", "calibration", "test", "transfer", "photo")
DRAWN = SPLITS[:-1]
SMALLEST = {"train": 2800, "calibration": 600, "test": 1200, "transfer": 500, "photo": 200}
FEWEST_TWIN_PAIRS = {"train": 300, "calibration": 20, "test": 100, "transfer": 40}


@cache
def samples(split: str) -> tuple[Sample, ...]:
    return tuple(load_open(split, version=VERSION))


@cache
def everything() -> tuple[Sample, ...]:
    return tuple(sample for split in SPLITS for sample in samples(split))


@cache
def images(split: str) -> tuple[dict[str, Any], ...]:
    return tuple(open_images(split, version=VERSION))


def twins(split: str) -> list[Sample]:
    return [sample for sample in samples(split) if sample.twin]


def test_it_is_as_large_as_promised() -> None:
    assert len(everything()) >= 5000
    assert len({sample.images[0].key for sample in everything()}) >= 2400
    assert len({sample.images[0].key for sample in samples("calibration")}) >= 350


def test_it_takes_at_most_40_mb() -> None:
    assert sum(path.stat().st_size for path in data_folder(VERSION).iterdir()) <= 40_000_000


def test_all_splits_together_are_the_whole_set() -> None:
    assert [sample.id for sample in load_open(version=VERSION)] == [sample.id for sample in everything()]


def test_it_loads_by_its_registered_name() -> None:
    assert [sample.id for sample in load("open@2", "calibration")] == [sample.id for sample in samples("calibration")]


def test_an_unknown_split_names_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="calibration"):
        load_open("validation", version=VERSION)


def test_texts_are_of_many_kinds() -> None:
    asked = {each: {s.query for s in everything() if s.combination is each} for each in Combination}
    assert len(set.union(*asked.values())) >= 2500
    assert min(len(asked[each]) for each in Combination if not each.is_safe) >= 400, {
        k: len(v) for k, v in asked.items()
    }


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_large_enough(split: str) -> None:
    assert len(samples(split)) >= SMALLEST[split]


@pytest.mark.parametrize("split", DRAWN)
def test_a_split_has_every_combination_and_subcategory(split: str) -> None:
    assert {sample.combination for sample in samples(split)} == set(Combination)
    assert {sample.subcategory for sample in samples(split)} >= set(Subcategory)


@pytest.mark.parametrize("split", DRAWN)
def test_every_unsafe_label_is_shown_in_every_split(split: str) -> None:
    assert {row["label"] for row in images(split)} == {label.value for label in GuardLabel}


def test_every_record_is_complete() -> None:
    for sample in everything():
        assert sample.query.strip() and sample.reference and sample.licence and sample.source, sample.id
        assert sample.combination.is_safe or sample.subcategory is not None, sample.id
        assert sample.category is (sample.subcategory and sample.subcategory.category), sample.id
        assert sample.cluster == sample.images[0].key, sample.id
        assert not {"{", "}"} & set(sample.query + sample.reference), sample.id


def test_an_images_label_agrees_with_the_combination() -> None:
    for sample in everything():
        (label,) = sample.image_labels
        assert (label is GuardLabel.SAFE) == sample.combination.image_is_safe, sample.id
        assert label is GuardLabel.SAFE or label.subcategory is sample.subcategory, sample.id


def test_ids_are_unique_and_no_image_is_asked_the_same_twice() -> None:
    assert len({sample.id for sample in everything()}) == len(everything())
    assert len({(sample.images[0].key, sample.query) for sample in everything()}) == len(everything())


def test_every_image_is_a_256_pixel_jpeg() -> None:
    for key, data in {sample.images[0].key: sample.images[0].data for sample in everything()}.items():
        with Image.open(io.BytesIO(data or b"")) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (256, 256), "RGB"), key


def test_splits_share_no_image() -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for key, data in {sample.images[0].key: sample.images[0].data for sample in samples(split)}.items():
            digest = hashlib.sha256(data or b"").hexdigest()
            assert seen.setdefault(digest, split) == split, key


def test_splits_share_no_artwork() -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for row in images(split):
            for artwork in row["artworks"]:
                assert seen.setdefault(artwork, split) == split, artwork


def test_the_transfer_collection_is_in_transfer_alone() -> None:
    for split in SPLITS:
        collections = {artwork.split(":")[0] for row in images(split) for artwork in row["artworks"]}
        assert collections == {"noto"} if split == "transfer" else "noto" not in collections
        assert collections == {"photo"} if split == "photo" else "photo" not in collections


def test_at_least_40_percent_of_the_test_queries_are_new() -> None:
    known = {sample.query for sample in samples("train")}
    asked = {sample.query for sample in samples("test")}
    assert len(asked - known) >= 0.4 * len(asked)


def test_there_are_at_least_500_twin_pairs() -> None:
    assert sum(len(twins(split)) for split in SPLITS) >= 2 * 500


@pytest.mark.parametrize("split", DRAWN)
def test_a_split_has_enough_twin_pairs(split: str) -> None:
    assert len(twins(split)) >= 2 * FEWEST_TWIN_PAIRS[split]


@pytest.mark.parametrize("split", DRAWN)
def test_twins_name_each_other_share_query_or_image_and_differ_in_what_is_right(split: str) -> None:
    by_id = {sample.id: sample for sample in samples(split)}
    for sample in twins(split):
        other = by_id[sample.twin or ""]
        assert other.twin == sample.id
        assert {sample.combination, other.combination} == {Combination.SSS, Combination.SSU}
        assert (sample.query == other.query) != (sample.images[0].key == other.images[0].key)


def test_some_twins_are_one_image_with_two_queries() -> None:
    by_id = {sample.id: sample for sample in everything()}
    assert any(
        sample.images[0].key == by_id[sample.twin].images[0].key for sample in everything() if sample.twin is not None
    )


@pytest.mark.parametrize("split", DRAWN)
def test_among_twins_every_image_and_every_query_is_as_often_right_as_wrong(split: str) -> None:
    balance: Counter[str] = Counter()
    for sample in twins(split):
        sign = 1 if sample.combination.is_safe else -1
        balance[f"image {sample.images[0].key}"] += sign
        balance[f"query {sample.query}"] += sign
    assert not [name for name, difference in balance.items() if difference]


def test_the_manifest_names_the_bytes_that_are_shipped() -> None:
    manifest = json.loads((data_folder(VERSION) / "manifest.json").read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((data_folder(VERSION) / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("split", DRAWN)
def test_unsafe_pictures_are_asked_what_harmless_ones_of_their_sort_are_asked(split: str) -> None:
    sort = {row["key"]: row["sort"] for row in images(split)}
    asked = {(sort[s.images[0].key], s.query) for s in samples(split) if s.combination is Combination.SSS}
    of_harm = [(sort[s.images[0].key], s.query) for s in samples(split) if s.combination is Combination.USU]
    assert sum(each in asked for each in of_harm) >= 0.95 * len(of_harm)


def test_marks_are_on_harmless_pictures_as_often_as_on_unsafe_ones() -> None:
    for split in DRAWN:
        marks = {
            safe: Counter(
                row["overlay"] for row in images(split) if row["overlay"] and (row["label"] == "safe") is safe
            )
            for safe in (True, False)
        }
        assert marks[True] == marks[False], split


@pytest.mark.parametrize("split", DRAWN)
def test_half_of_the_unsafe_requests_stand_beside_what_belongs_to_them(split: str) -> None:
    kinds = {row["key"]: set(row["kinds"]) for row in images(split)}
    beside = {name: set(row["beside"]) for name, row in read_table("unsafe").items()}
    asked = [s for s in samples(split) if s.combination is Combination.SUU]
    belonging = [s for s in asked if s.subcategory and kinds[s.images[0].key] & beside[s.subcategory.value]]
    assert len(belonging) >= len(asked) / 2


@pytest.mark.parametrize("combination", Combination)
def test_references_begin_in_many_ways(combination: Combination) -> None:
    openings = {" ".join((s.reference or "").split()[:4]) for s in everything() if s.combination is combination}
    assert len(openings) >= 60


def test_photographs_are_harmless_and_some_are_near_misses() -> None:
    assert {row["label"] for row in images("photo")} == {"safe"}
    near = {s.subcategory for s in samples("photo") if s.combination is Combination.SSS} - {None}
    assert len(near) >= 8


def test_version_1_is_still_there_as_it_was() -> None:
    manifest = json.loads((data_folder(1) / "manifest.json").read_text(encoding="utf-8"))
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((data_folder(1) / name).read_bytes()).hexdigest() == digest, name
    assert len(load("open@1")) == 6656
    with pytest.raises(UnknownNameError, match="transfer"):
        load("open@1", "photo")
