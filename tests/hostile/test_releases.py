"""Files of released data sets that a user may come to have: damaged, of another kind, or made to do harm."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

from benchmarks.more_releases import vlguard_content, write_vlguard
from benchmarks.small_releases import mis_content, write_json, write_mis
from holisafe import datasets
from holisafe.errors import DataError


def test_a_name_that_no_file_can_have_is_a_missing_image(tmp_path: Path) -> None:
    place = write_mis(tmp_path / "mis")
    content = mis_content("easy")
    content[0]["image_path1"] = "a" * 5000
    content[1]["image_path1"] = "a\0b"
    write_json(place / "mis_easy.json", content)
    loaded = datasets.read(f"mis:{place}", "easy")
    assert [(problem.id, problem.field) for problem in loaded.broken] == [
        ("easy-0", "image_path1"),
        ("easy-1", "image_path1"),
    ]
    assert [sample.id for sample in loaded.samples] == ["easy-2"]


def test_links_in_a_circle_are_a_missing_image(tmp_path: Path) -> None:
    content = vlguard_content()
    place = write_vlguard(tmp_path / "vlguard", content)
    image = next(place.rglob(content[0]["image"]))
    image.unlink()
    image.symlink_to(image.name)
    assert "image" in {problem.field for problem in datasets.read(f"vlguard:{place}").broken}


@pytest.mark.parametrize("suffix", ["", "/test.json"])
def test_a_pipe_in_the_place_of_the_records_is_not_waited_for(suffix: str, tmp_path: Path) -> None:
    place = write_vlguard(tmp_path / "vlguard")
    (place / "test.json").unlink()
    os.mkfifo(place / "test.json")
    found: list[str] = []

    def read() -> None:
        with pytest.raises(DataError) as caught:
            datasets.read(f"vlguard:{place}{suffix}")
        found.append(str(caught.value))

    thread = Thread(target=read, daemon=True)
    thread.start()
    thread.join(20)
    assert len(found) == 1 and str(place) in found[0]


def test_what_is_called_a_zip_and_is_none_says_so(tmp_path: Path) -> None:
    place = tmp_path / "mis.zip"
    place.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"mis\.zip: not a readable zip"):
        datasets.read(f"mis:{place}")
