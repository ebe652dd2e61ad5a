"""Images are found below their data set's folder, whatever system wrote their names, and nowhere else."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holisafe.datasets import Loaded, read
from holisafe.datasets.holisafe_bench import validate_path
from holisafe.errors import DataError
from holisafe.images import content_hash

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def snapshot(tmp_path: Path, png: bytes, record: Make) -> Path:
    """A data set as the Hub's cache keeps it: every file is a link into `blobs`."""
    repository = tmp_path / "datasets--owner--name"
    folder = repository / "snapshots" / "abc"
    (folder / "images").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "111").write_bytes(png)
    records = [record(id=number, image="a.png", type="SSS", image_safe=True, image_safety_label=0) for number in (1, 2)]
    (repository / "blobs" / "222").write_text(json.dumps(records))
    (folder / "images" / "a.png").symlink_to("../../../blobs/111")
    (folder / "holisafe_bench.json").symlink_to("../../blobs/222")
    return folder


@pytest.mark.parametrize("named", ["folder", "file", "link"])
def test_links_of_a_hub_cache_are_followed(snapshot: Path, png: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(snapshot)
    place = {"folder": snapshot, "file": snapshot / "holisafe_bench.json", "link": tmp_path / "link"}[named]
    loaded = validate_path(place)
    assert [sample.images[0].digest for sample in loaded.samples] == [content_hash(png)] * 2
    assert loaded.broken == ()


@pytest.mark.parametrize("target", ["outside.png", "../outside.png"])
def test_links_out_of_the_repository_are_not_followed(snapshot: Path, png: bytes, target: str, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(png)
    link = snapshot / "images" / "a.png"
    link.unlink()
    link.symlink_to(tmp_path / "outside.png")
    assert "lies outside its data folder" in read(snapshot).broken[0].remedy


def test_links_out_of_an_ordinary_folder_are_not_followed(folder: Path, png: bytes, record: Make) -> None:
    (folder.parent / "outside.png").write_bytes(png)
    (folder / "images" / "link.png").symlink_to(folder.parent / "outside.png")
    (folder / "data.json").write_text(json.dumps([record(image="link.png")]))
    assert "lies outside its data folder" in read(folder).broken[0].remedy


def test_a_link_that_was_copied_as_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "holisafe_bench.json").write_text("../../blobs/222")
    with pytest.raises(DataError, match=r"hf download --local-dir"):
        read(tmp_path)


CAFE = "caf\u00e9"


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_names_of_other_systems_are_found(
    read_records: Callable[..., Loaded],
    record: Make,
    folder: Path,
    png: bytes,
    on_disk: Any,
    written: Any,
    separator: str,
) -> None:
    image = folder / "images" / unicodedata.normalize(on_disk, CAFE) / f"{unicodedata.normalize(on_disk, CAFE)}.png"
    image.parent.mkdir()
    image.write_bytes(png)
    name = unicodedata.normalize(written, separator.join([CAFE, f"{CAFE}.png"]))
    for start in ("", f"images{separator}", f".{separator}", f"images{separator * 2}"):
        loaded = read_records(record(image=start + name))
        assert [sample.images[0].digest for sample in loaded.samples] == [content_hash(png)], loaded.problems


def test_a_name_is_first_read_as_it_is_written(
    read_records: Callable[..., Loaded], record: Make, folder: Path, png: bytes
) -> None:
    """Elsewhere than on Windows a backslash may be part of a name."""
    (folder / "images" / "a\\b.png").write_bytes(png + b"1")
    (folder / "images" / "a").mkdir()
    (folder / "images" / "a" / "b.png").write_bytes(png + b"2")
    (sample,) = read_records(record(image="a\\b.png")).samples
    assert sample.images[0].digest == content_hash(png + b"1")


@pytest.mark.parametrize("name", ["..\\holisafe_bench.json", "C:\\a.png", "\\etc\\hostname", "a" * 5000, "a\0b.png"])
def test_names_that_lead_nowhere_are_refused(read_records: Callable[..., Loaded], record: Make, name: str) -> None:
    loaded = read_records(record(image=name), record(id=2))
    assert [sample.id for sample in loaded.samples] == ["2"]
    assert {problem.field for problem in loaded.broken} == {"image"}


@pytest.mark.parametrize("field", ["image", "images"])
def test_a_list_of_images_is_read_in_either_field(
    read_records: Callable[..., Loaded], record: Make, folder: Path, png: bytes, field: str
) -> None:
    (folder / "images" / "b.png").write_bytes(png + b"b")
    names = ["violence/terrorism/terrorism_1.png", "b.png"]
    (sample,) = read_records(record(image=..., image_safety_label=...) | {field: names}).samples
    assert [ref.key for ref in sample.images] == names


@pytest.mark.parametrize("other", ["img", "image_path", "Image_File"])
def test_a_record_that_calls_its_image_otherwise_is_no_record_without_image(
    read_records: Callable[..., Loaded], record: Make, other: str
) -> None:
    changes = {"image": ..., "type": "SSS", "image_safe": ..., "image_safety_label": ..., other: "a.png"}
    (problem,) = read_records(record(**changes)).broken
    assert problem.field == "image" and f"rename the field {other!r}" in problem.remedy
