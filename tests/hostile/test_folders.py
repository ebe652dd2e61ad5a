"""Damaged folders of guards and tuned models: what was saved is loaded whole, or the file is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.checkpoints.manifest import file_manifest
from holisafe.guard import GuardConfig, attach_guard, save_guard
from holisafe.models import ModelSpec, load
from holisafe.tuning import tune
from hostile import damage, doors
from hostile.feeding import content_of, feed
from tuning.tiny_run import SETTINGS, write_data, write_model

SEED = 28


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model `base`, a guard of it, a tuned folder `run` that was made from it, and `outside`."""
    folder = tmp_path_factory.mktemp("folders")
    (folder / "outside").mkdir()
    (folder / "outside" / "victim.json").write_text("{}")
    write_model(folder / "base")
    settings = replace(SETTINGS, max_steps=1)
    base = ModelSpec(str(folder / "base"), device="cpu")
    tune(base, write_data(folder / "data"), folder / "run", settings)
    (folder / "run").rename(folder / "whole-run")
    shutil.copytree(folder / "whole-run" / "tuned", folder / "run" / "tuned")
    made = load(folder / "base", device="cpu")
    attach_guard(made.model, GuardConfig(features="projector"))
    save_guard(made.model, folder / "guard")
    return folder


def as_if_meant(damaged: damage.Damage, folder: Path, *, tuned: bool) -> Path:
    """The checksums fit the damaged files, so that the content itself must be checked."""
    path = folder / ("tuned/tuned.json" if tuned else "guard_config.json")
    if damaged.file == str(path.relative_to(folder)) or path.is_symlink():
        return folder
    record: dict[str, Any] = json.loads(path.read_text())
    if tuned:
        if any(each.is_symlink() or each.is_fifo() for each in folder.rglob("*")):
            return folder
        record["files"] = file_manifest(folder / "tuned")
    else:
        weights = folder / "guard.safetensors"
        if not weights.is_file() or not weights.resolve().is_relative_to(folder.resolve()):
            return folder
        record["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    path.write_text(json.dumps(record))
    return folder


def damaged(place: Path, name: str, tmp_path: Path, step: int, number: int, *, meant: bool) -> dict[str, Path]:
    some = list(damage.deliberate(place / name, place / "outside"))[::step]
    some += [damage.random_damage(place / name, SEED, index) for index in range(number)]
    paths = {}
    for index, each in enumerate(some):
        copy = each.copy(place / name, tmp_path / "copies" / str(index))
        paths[each.name] = as_if_meant(each, copy, tuned=name == "run") if meant else copy
    return paths


@pytest.mark.parametrize("meant", [False, True])
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.bulk)])
def test_a_damaged_guard_is_whole_or_named(step: int, meant: bool, place: Path, tmp_path: Path) -> None:
    paths = damaged(place, "guard", tmp_path, step, 240 // step**2, meant=meant)
    given = [(name, [str(place / "base"), str(path)]) for name, path in paths.items()]
    found = feed(doors.load_guard, given, tmp_path, seed=SEED, mib=800, seconds=300)
    assert {each.outcome for each in found.values()} == {"good", "GuardError"}
    assert sorted(content_of(place / "outside")) == ["victim.json"]


@pytest.mark.parametrize("meant", [False, pytest.param(True, marks=pytest.mark.bulk)])
@pytest.mark.parametrize("step", [16, pytest.param(2, marks=pytest.mark.bulk)])
def test_a_damaged_tuned_model_is_whole_or_named(step: int, meant: bool, place: Path, tmp_path: Path) -> None:
    paths = damaged(place, "run", tmp_path, step, 240 // step, meant=meant)
    given = [("whole", str(place / "run")), *((name, str(path)) for name, path in paths.items())]
    found = feed(doors.load_tuned, given, tmp_path, seed=SEED, mib=800, seconds=400)
    assert {each.outcome for each in found.values()} <= {"good", "ModelError", "GuardError"}
    whole = found["whole"]
    assert whole.is_good
    if not meant:  # the checksums of the whole folder hold: what loads is what was saved
        other = [each for each in found.values() if each.is_good and each.detail != whole.detail]
        assert not other, other
    assert sorted(content_of(place / "outside")) == ["victim.json"]
