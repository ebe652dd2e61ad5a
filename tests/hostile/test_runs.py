"""Damaged run folders and logs through `read_run`, `holisafe report` and a resumed `holisafe bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holisafe.bench import measure
from hostile import damage, doors
from hostile.feeding import Outcome, content_of, feed
from small_bench import write_small_bench

SEED = 28


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a finished run `run` of a mock model, and a folder `outside` that nobody may change."""
    folder = tmp_path_factory.mktemp("runs")
    write_small_bench(folder / "data", per_combination=2)
    measure("mockllm/model", data=str(folder / "data"), out=folder / "run", limit=5)
    (folder / "outside").mkdir()
    (folder / "outside" / "victim.json").write_text("{}")
    return folder


def copies(place: Path, tmp_path: Path, found: list[damage.Damage]) -> dict[str, Path]:
    return {each.name: each.copy(place / "run", tmp_path / "copies" / str(n)) for n, each in enumerate(found)}


def unchanged(place: Path) -> None:
    outside = place / "outside"
    assert content_of(outside) == {"victim.json": content_of(outside)["victim.json"]}
    assert (outside / "victim.json").read_text() == "{}"


def deliberate(place: Path, step: int) -> list[damage.Damage]:
    return list(damage.deliberate(place / "run", place / "outside"))[::step]


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.bulk)])
def test_damaged_runs_are_read_or_refused(step: int, place: Path, tmp_path: Path) -> None:
    paths = copies(place, tmp_path, deliberate(place, step))
    found = feed(doors.read_run, [(name, str(path)) for name, path in paths.items()], tmp_path, seed=SEED, seconds=400)
    assert {each.outcome for each in found.values()} <= {"good", "RunError"}
    unchanged(place)


def test_runs_damaged_at_random_are_read_or_refused(place: Path, tmp_path: Path) -> None:
    made = [damage.random_damage(place / "run", SEED, index) for index in range(60)]
    paths = copies(place, tmp_path, made)
    feed(doors.read_run, [(name, str(path)) for name, path in paths.items()], tmp_path, seed=SEED)


@pytest.mark.parametrize("step", [60, pytest.param(4, marks=pytest.mark.bulk)])
def test_commands_on_damaged_runs_end_with_one_line_of_error(step: int, place: Path, tmp_path: Path) -> None:
    made = deliberate(place, step) + [damage.random_damage(place / "run", SEED, index) for index in range(0, 900, step)]
    given = []
    for number, (name, path) in enumerate(copies(place, tmp_path, made).items()):
        report = ["report", str(path), "--out", str(tmp_path / f"{number}.html")]
        again = ["bench", "mockllm/model", "--data", str(place / "data"), "--out", str(path), "--limit", "5"]
        given += [(f"report of {name}", report), (f"bench resumes {name}", again)]
    found: dict[str, Outcome] = feed(doors.command, given, tmp_path, seed=SEED, seconds=500)
    assert {each.detail for each in found.values()} == {"0", "2"}
    unchanged(place)


NAMES = (".lock", "run.json.part", "run.json", "samples.jsonl", "responses.jsonl", "judgements.jsonl", "images", "log",
         "logs", "report.html", "guard.json")  # fmt: skip


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.bulk)])
def test_a_run_in_a_folder_of_links_changes_nothing_outside(step: int, place: Path, tmp_path: Path) -> None:
    given: list[tuple[str, Any]] = []
    for number, name in enumerate(NAMES[::step]):
        for target in ("victim.json", "nothing", "."):
            out = tmp_path / f"{number}-{target.strip('.')}"
            out.mkdir()
            (out / name).symlink_to(place / "outside" / target)
            command = ["bench", "mockllm/model", "--data", str(place / "data"), "--out", str(out), "--limit", "5"]
            given.append((f"{name} leads to {target}", command))
    feed(doors.command, given, tmp_path, seed=SEED)
    unchanged(place)
