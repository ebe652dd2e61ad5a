"""Formats in which data sets are released: found by name, read from zips within limits, and recognised."""

import json
import zipfile
from pathlib import Path

import pytest

from holisafe import datasets
from holisafe.datasets import Loaded, _release_files, released
from holisafe.datasets._clusters import connected
from holisafe.datasets._release_reader import mapping, objects, open_release, text
from holisafe.datasets._released import _RELEASED
from holisafe.errors import DataError, RegistryError, UnknownNameError
from holisafe.records import Behaviour, ImageRef, Sample


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A format of another package: `mine.json`, a list of `name`, `picture`, `hint`."""
    monkeypatch.setattr(_RELEASED, "_parts", dict(_RELEASED._parts))

    @released("mine", title="MyBench", files=("mine.json",), fields=({"picture", "hint"},))
    def load_mine(path: Path, split: str | None) -> Loaded:
        reader = open_release(path, "mine", "MyBench", ("mine.json",))
        for at, raw in enumerate(objects(reader.files.json(reader.files.main), str(path), "MyBench")):
            with reader.record(at):
                record = mapping(raw)
                image = reader.image("picture", text(record, "picture"))
                reader.add(text(record, "name"), (image,), text(record, "hint"), expected=Behaviour.ANSWER)
        return reader.loaded(split)


def write(folder: Path, png: bytes, *names: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(png)
    (folder / "mine.json").write_text(json.dumps([{"name": n, "picture": "a.png", "hint": "What?"} for n in names]))
    return folder


@pytest.mark.usefixtures("mine")
def test_another_package_adds_one_function(tmp_path: Path, png: bytes) -> None:
    place = write(tmp_path / "data", png, "x", "y")
    loaded = datasets.read(f"mine:{place}")
    assert [(s.id, s.tags["benchmark"], s.source) for s in loaded.samples] == [(n, "mine", "MyBench") for n in "xy"]
    assert "mine" in datasets.release_names()
    with pytest.raises(RegistryError, match="mine"):
        released("mine", title="Again")(lambda path, split: loaded)


@pytest.mark.usefixtures("mine")
def test_a_bad_field_and_a_second_id_are_typed_problems(tmp_path: Path, png: bytes) -> None:
    loaded = datasets.read(f"mine:{write(tmp_path / 'data', png, 'x', 3, 'x')}")
    assert [(p.index, p.field, p.found) for p in loaded.broken] == [(1, "name", "3"), (2, "id", '"x"')]
    assert [s.id for s in loaded.samples] == ["x"]


@pytest.mark.usefixtures("mine")
def test_a_plain_path_is_told_the_name_by_file_or_by_fields(tmp_path: Path, png: bytes) -> None:
    place = write(tmp_path / "data", png, "x")
    with_name = datasets.read(place).notes[-1].remedy
    assert with_name.startswith(f"use --data mine:{place}")
    (place / "mine.json").rename(place / "renamed.json")
    assert datasets.read(place / "renamed.json").notes[-1].found == "this looks like MyBench"
    assert not datasets.read(write_other(tmp_path / "other", png)).notes


def write_other(folder: Path, png: bytes) -> Path:
    folder.mkdir()
    (folder / "a.png").write_bytes(png)
    (folder / "data.json").write_text(json.dumps([{"id": 1, "image": "a.png", "query": "q?", "expected": "answer"}]))
    return folder


@pytest.mark.usefixtures("mine")
def test_an_image_that_cannot_be_decoded_is_found_by_validate(tmp_path: Path, png: bytes) -> None:
    place = write(tmp_path / "data", png, "x")
    assert datasets.validate(f"mine:{place}").samples
    (place / "a.png").write_bytes(png[: len(png) // 2])
    loaded = datasets.validate(f"mine:{place}")
    assert [(p.id, p.field) for p in loaded.broken] == [("x", "image")] and not loaded.samples


@pytest.mark.usefixtures("mine")
def test_a_damaged_zip_and_a_large_one_are_refused(tmp_path: Path, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write(tmp_path / "data", png, "x")
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        for file in place.iterdir():
            archive.write(file, file.name)
    assert datasets.load(f"mine:{whole}")
    monkeypatch.setattr(_release_files, "MAX_IN_MEMORY", 10)
    with pytest.raises(DataError, match="unpack it"):
        datasets.read(f"mine:{whole}")
    (tmp_path / "cut.zip").write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(DataError):
        datasets.read(f"mine:{tmp_path / 'cut.zip'}")


@pytest.mark.usefixtures("mine")
def test_a_zip_that_unpacks_to_too_much_stops(tmp_path: Path, png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps([{"name": str(n), "picture": f"{n}.png", "hint": "What?"} for n in range(3)])
    place = tmp_path / "many.zip"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mine.json", content)
        for n in range(3):
            archive.writestr(f"{n}.png", png + bytes(5000) + bytes([n]))
    monkeypatch.setattr(_release_files, "MAX_IN_MEMORY", len(content) + 2 * (len(png) + 5001))
    loaded = datasets.read(f"mine:{place}")
    assert [s.id for s in loaded.samples] == ["0", "1"]
    assert "decompression bomb" in loaded.broken[0].remedy


def test_an_unknown_name_is_no_release() -> None:
    with pytest.raises(DataError, match="no such file"):
        datasets.read("nosuch:data.json")
    with pytest.raises(UnknownNameError):
        datasets.find_release("nosuch")


def test_clusters_join_what_shares_any_image_or_is_a_twin() -> None:
    images = [ImageRef(str(n), data=bytes([n]), digest=f"d{n}") for n in range(5)]
    shown = {"a": (0, 1), "b": (1, 2), "c": (3,), "d": (4,), "e": ()}
    samples = [
        Sample.ask(name, [images[n] for n in numbers], "q?", twin="d" if name == "c" else None)
        for name, numbers in shown.items()
    ]
    found = {sample.id: sample.cluster for sample in connected(samples)}
    assert found["a"] == found["b"] and found["c"] == found["d"] and len(set(found.values())) == 3
    assert [s.cluster for s in connected(reversed(samples))] == [found[s.id] for s in reversed(samples)]
    named = [Sample.ask(s.id, s.images, "q?", cluster="one" if s.id in "ae" else "") for s in samples]
    joined = {sample.id: sample.cluster for sample in connected(named)}
    assert joined["a"] == joined["b"] == joined["e"] and len(set(joined.values())) == 3
