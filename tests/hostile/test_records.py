"""Hostile records through the readers of data and the commands that use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from hostile import doors, records
from hostile.feeding import content_of, feed

SEED = 28


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """The folder of a data set; what lies outside of it must stay as it is, and so must the folder."""
    folder = records.folder(tmp_path / "data", tmp_path / "outside")
    before = content_of(tmp_path / "outside")
    yield folder
    assert content_of(tmp_path / "outside") == before


def arguments(paths: dict[str, Path]) -> list[tuple[str, str]]:
    return [(name, str(path)) for name, path in paths.items()]


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.bulk)])
def test_deliberate_records_are_read_or_named(step: int, place: Path, tmp_path: Path) -> None:
    made = [file for number, file in enumerate(records.deliberate()) if number % step == 0 or file.good is not None]
    wanted = {file.name: file.good for file in made}
    paths = records.write(iter(made), place)
    assert len(paths) == len(wanted) > 200
    found = feed(doors.read_data, arguments(paths), tmp_path, seed=SEED)
    for name, number in wanted.items():
        if number is not None:
            each = found[name]
            assert each.is_good and json.loads(each.detail)[0] == number, each


def test_random_records_are_read_or_named(place: Path, tmp_path: Path) -> None:
    made = (records.random_file(SEED, index) for index in range(40))
    found = feed(doors.read_data, arguments(records.write(made, place)), tmp_path, seed=SEED)
    assert sum(json.loads(each.detail)[0] for each in found.values() if each.is_good) > 150


def test_files_damaged_at_random_are_read_or_named(place: Path, tmp_path: Path) -> None:
    made = (records.damaged_file(SEED, index) for index in range(400))
    found = feed(doors.read_data, arguments(records.write(made, place)), tmp_path, seed=SEED)
    assert {each.outcome for each in found.values()} == {"good", "DataError"}


@pytest.mark.bulk
@pytest.mark.parametrize("seed", range(4))
def test_twenty_thousand_random_records_are_read_or_named(seed: int, place: Path, tmp_path: Path) -> None:
    made = chain(
        (records.random_file(seed, index) for index in range(200)),
        (records.damaged_file(seed, index) for index in range(2000)),
    )
    feed(doors.read_data, arguments(records.write(made, place)), tmp_path, seed=seed, seconds=500)


def test_hostile_predictions_are_read_or_named(place: Path, tmp_path: Path) -> None:
    made = chain(
        (file for file in records.deliberate() if file.name.startswith(("prediction", "id", "JSON", "CSV", "lines"))),
        (records.random_file(SEED, index, size=5) for index in range(30)),
    )
    feed(doors.score, arguments(records.write(made, place)), tmp_path, seed=SEED)


@pytest.mark.parametrize("step", [20, pytest.param(3, marks=pytest.mark.bulk)])
def test_commands_end_with_one_line_of_error(step: int, place: Path, tmp_path: Path) -> None:
    made = list(chain(records.deliberate(), (records.damaged_file(SEED, index) for index in range(100))))[::step]
    given: list[tuple[str, list[str]]] = []
    for number, (name, path) in enumerate(records.write(iter(made), place).items()):
        command = [
            ["data", "validate", str(path)],
            ["data", "validate", str(path), "--json"],
            ["data", "stats", str(path)],
            ["score", str(path)],
            ["score", str(path), "--data", str(path), "--json"],
            ["data", "show", str(path)],
            ["bench", "mockllm/model", "--data", str(path), "--out", str(tmp_path / "runs" / str(number))],
        ][number % 7]
        given.append((f"{command[0]} {command[1] if command[0] == 'data' else ''} {name}", command))
    found = feed(doors.command, given, tmp_path, seed=SEED)
    assert {each.detail for each in found.values()} == {"0", "1", "2"}
