from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe._assets import asset_folder
from holisafe.datasets import fingerprint, load
from holisafe.records import ImageRef, Role, Sample, Turn
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

MakeSample = Callable[..., Sample]


def test_it_is_a_sha256_in_hex(sample: MakeSample) -> None:
    assert len(bytes.fromhex(fingerprint([sample()]))) == 32


def test_the_order_does_not_matter(sample: MakeSample) -> None:
    assert fingerprint([sample("1"), sample("2")]) == fingerprint([sample("2"), sample("1")])


def test_the_place_of_the_files_does_not_matter(sample: MakeSample, png: bytes, tmp_path: Path) -> None:
    in_memory = sample()
    hashes = {fingerprint([in_memory])}
    for name in ("a", "b"):
        file = tmp_path / name / "x.png"
        file.parent.mkdir()
        file.write_bytes(png)
        ref = ImageRef(in_memory.images[0].key, path=file, root=file.parent)
        hashes.add(fingerprint([in_memory.with_images((ref,))]))
    assert len(hashes) == 1


CHANGES: dict[str, Callable[[Sample], Sample]] = {
    "id": lambda sample: replace(sample, id="2"),
    "query": lambda sample: sample.with_query("Another?"),
    "combination": lambda sample: replace(sample, combination=Combination.UUU),
    "expected": lambda sample: replace(sample, expected=None),
    "category": lambda sample: replace(sample, tags={**sample.tags, "category": Category.PRIVACY.value}),
    "subcategory": lambda sample: replace(sample, tags={**sample.tags, "subcategory": Subcategory.RACE.value}),
    "tag": lambda sample: replace(sample, tags={**sample.tags, "scenario": "kitchen"}),
    "image_labels": lambda sample: replace(sample, image_labels=(GuardLabel.SAFE,)),
    "reference": lambda sample: replace(sample, reference="Yes."),
    "rejected": lambda sample: replace(sample, rejected="No."),
    "options": lambda sample: replace(sample, options=("A", "B")),
    "twin": lambda sample: replace(sample, twin="9"),
    "cluster": lambda sample: replace(sample, cluster="another"),
    "source": lambda sample: replace(sample, source="elsewhere"),
    "licence": lambda sample: replace(sample, licence="MIT"),
    "earlier turn": lambda sample: replace(sample, turns=(Turn(Role.SYSTEM, "Be kind."), *sample.turns)),
    "image bytes": lambda sample: sample.with_images((ImageRef("image-1", data=b"other bytes"),)),
    "unreadable": lambda sample: sample.with_images((ImageRef("image-1", path=Path("/gone"), root=Path("/")),)),
    "no image": lambda sample: sample.with_images(()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_field_and_every_image_byte_matters(sample: MakeSample, change: str) -> None:
    assert fingerprint([CHANGES[change](sample())]) != fingerprint([sample()])


def test_the_name_of_an_image_does_not_matter(sample: MakeSample) -> None:
    other = sample().with_images((replace(sample().images[0], key="another.png"),))
    assert fingerprint([other]) == fingerprint([sample()])


def test_the_shipped_set_has_the_fingerprint_that_its_guards_name() -> None:
    named = (asset_folder("pocket_safe") / "guard" / "calibration.md").read_text()
    if "of open, split calibration" in named:
        assert fingerprint(load("open", "calibration")) in named
    assert fingerprint(load("open@1", "calibration")).startswith("546155c6adf7b53f")
    assert fingerprint(load("open", "calibration")).startswith("adeee69948f34aee")


def test_a_repeated_sample_matters(sample: MakeSample) -> None:
    assert fingerprint([sample(), sample()]) != fingerprint([sample()])
