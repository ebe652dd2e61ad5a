"""`holisafe tune` on two processes with sharded weights, as a user starts it: what it gives, a kill, a resume."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from safetensors.torch import load_file
from torch.utils.data import BatchSampler, SequentialSampler

from holisafe.records import Behaviour
from holisafe.taxonomy import Combination, GuardLabel
from holisafe.tuning._mix import group_by_length, mix
from tuning.data import sample
from tuning.tiny_run import SETTINGS, write_data, write_model

pytestmark = pytest.mark.slow

STEPS = 16


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run without dropout, but for its folder and what differs with the number of processes."""
    folder = tmp_path_factory.mktemp("given")
    recipe = {
        "settings": replace(SETTINGS, lora_dropout=0.0, max_steps=STEPS).to_json(),
        "guard": {"dropout": 0.0},
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    given = ["--data", str(write_data(folder / "data")), "--recipe", str(folder / "recipe.json"), "--device", "cpu"]
    return ["tune", str(write_model(folder / "model")), *given, "--batch-size", "1", "--save-steps", "2"]


def alone(command: list[str], out: Path) -> subprocess.CompletedProcess[str]:
    given = [*command, "--out", str(out), "--gradient-accumulation-steps", "4"]
    return subprocess.run([sys.executable, "-m", "holisafe", *given], capture_output=True, text=True)


def sharded(command: list[str], out: Path) -> subprocess.Popen[str]:
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    given = [*command, "--out", str(out), "--gradient-accumulation-steps", "2", "--fsdp"]
    return subprocess.Popen(
        [sys.executable, *launch, "-m", "holisafe", *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def one(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "run"
    done = alone(command, out)
    assert done.returncode == 0, done.stderr
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    files = sorted((run / "tuned").rglob("*.safetensors"))
    return {f"{file.relative_to(run)}:{name}": each for file in files for name, each in load_file(file).items()}


def assert_same_result(found: Path, expected: Path) -> None:
    assert _files(found) == _files(expected)
    mine, theirs = weights(found), weights(expected)
    assert mine.keys() == theirs.keys()
    for name, values in theirs.items():
        within = 2e-2 if name.endswith("k_proj.bias") else 1e-4  # of many steps of Adam
        torch.testing.assert_close(mine[name], values, rtol=0, atol=within, msg=lambda text, at=name: f"{at}: {text}")


def _files(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in (run / "tuned").rglob("*") if path.is_file())


def test_two_sharded_processes_give_the_tuned_folder_of_one(command: list[str], one: Path, tmp_path: Path) -> None:
    started = sharded(command, tmp_path / "run")
    _, errors = started.communicate()
    assert started.returncode == 0, errors
    assert_same_result(tmp_path / "run", one)
    described = [json.loads((run / "tuned" / "tuned.json").read_text()) for run in (tmp_path / "run", one)]
    assert [each["training"].pop("processes") for each in described] == [2, 1]
    for each in described:
        each["settings"].pop("gradient_accumulation_steps")
        for key in ("first", "last"):
            each["training"][key] = pytest.approx(each["training"][key], rel=1e-3, abs=1e-5)
        del each["files"]
    assert described[0].keys() == described[1].keys()
    assert described[0]["settings"] == described[1]["settings"]


def test_a_killed_process_ends_all_and_one_process_resumes_from_the_shards(
    command: list[str], one: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    started = sharded(command, out)
    while not list(out.glob("checkpoint-*/trainer_state.json")):
        assert started.poll() is None, started.communicate()[1]
        time.sleep(0.02)
    second = next(each for each in psutil.Process(started.pid).children() if each.environ()["RANK"] == "1")
    second.kill()
    _, errors = started.communicate()
    assert started.returncode != 0
    assert f"(pid: {second.pid})" in errors and "SIGKILL" in errors
    assert not (out / "tuned").exists()
    done = alone(command, out)
    assert done.returncode == 0, done.stderr
    assert_same_result(out, one)


@pytest.mark.parametrize("processes", [2, 8, 16])
def test_the_combinations_are_balanced_over_all_processes(processes: int) -> None:
    given = [_sample(i) for i in range(40)]
    drawn = group_by_length(mix(given, 320, seed=3), 2, 16, seed=3)
    batches = BatchSampler(SequentialSampler(drawn), 2, drop_last=False)
    dealt = [list(BatchSamplerShard(batches, processes, rank)) for rank in range(processes)]
    together = [at for step in zip(*dealt, strict=True) for batch in step for at in batch]
    assert together == list(range(320))  # a sample's place is its global index
    of_all = Counter(drawn[at].combination for at in together)
    assert set(of_all.values()) == {64} and len(of_all) == 5


def _sample(index: int) -> Any:
    combination = list(Combination)[index % 5]
    safe = combination is Combination.SSS
    return sample(
        f"{index}",
        combination=combination,
        expected=Behaviour.ANSWER if safe else Behaviour.REFUSE,
        image_labels=(GuardLabel.SAFE,),
        reference="It is plain. " * (1 + index % 3),
    )
