from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.datasets import fingerprint
from holisafe.records import ImageRef, Sample
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
        hashes.add(fingerprint([replace(in_memory, images=(ref,))]))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"id": "2"},
        {"query": "Another?"},
        {"combination": Combination.UUU},
        {"category": Category.PRIVACY},
        {"subcategory": Subcategory.RACE},
        {"image_labels": (GuardLabel.SAFE,)},
        {"reference": "Yes."},
        {"twin": "9"},
        {"cluster": "another"},
        {"source": "elsewhere"},
        {"licence": "MIT"},
        {"images": (ImageRef("image-1", data=b"other bytes"),)},
        {"images": (ImageRef("image-1", path=Path("/gone"), root=Path("/")),)},
    ],
)
def test_every_field_and_every_image_byte_matters(sample: MakeSample, change: dict[str, Any]) -> None:
    assert fingerprint([replace(sample(), **change)]) != fingerprint([sample()])


def test_a_repeated_sample_matters(sample: MakeSample) -> None:
    assert fingerprint([sample(), sample()]) != fingerprint([sample()])
