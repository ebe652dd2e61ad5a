"""Two processes learn what one does, whether each holds the whole model (DDP) or a shard of it (FSDP)."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from holisafe.errors import TuningError
from holisafe.tuning import TuneConfig
from holisafe.tuning._trainer import LEARNED_FILE
from tuning import train_processes
from tuning.data import with_rates
from tuning.train_processes import ALIKE, HALF, RUNS, train, uneven

pytestmark = pytest.mark.slow

CURVE = ("loss", "loss_answer", "loss_image", "loss_combination", "loss_category", "grad_norm", "learning_rate")
ALONE: dict[str, TuneConfig] = {
    "ddp": ALIKE,
    "ddp-checkpointing": ALIKE,
    "fsdp": ALIKE,
    "fsdp-first-loads": ALIKE,
    "fsdp-no-adapter": with_rates(ALIKE, language=None),
    "fsdp-bfloat16": replace(ALIKE, precision="bfloat16", gradient_checkpointing=True),
}
"""What one process does in place of two."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runs of two processes left, each in its own folder."""
    where = tmp_path_factory.mktemp("two")
    launch = ["-m", "accelerate.commands.launch", "--num_processes=2", "--num_machines=1", "--main_process_port=0"]
    # without --multi_gpu it starts a single process on a CPU
    launch += ["--multi_gpu", "--mixed_precision=no", "--dynamo_backend=no"]
    script = [str(train_processes.__file__), str(where), *RUNS]
    done = subprocess.run([sys.executable, *launch, *script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return where


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[TuneConfig], Path]:
    """What one process leaves with these settings."""

    @functools.cache
    def left(config: TuneConfig) -> Path:
        where = tmp_path_factory.mktemp("one")
        train(where, config)
        return where

    return left


def curve(run: Path, names: Sequence[str] = CURVE) -> list[float]:
    state = json.loads((run / "checkpoint-6" / "trainer_state.json").read_text())
    rows = [row for row in state["log_history"] if "loss" in row]
    assert len(rows) == 6
    return [row[name] for row in rows for name in names]


def evaluations(run: Path) -> list[Any]:
    state = json.loads((run / "checkpoint-6" / "trainer_state.json").read_text())
    return [row["evaluation"] for row in state["log_history"] if "evaluation" in row]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(run / "checkpoint-6" / LEARNED_FILE))


def left_by(run: Path) -> list[Any]:
    return [json.loads((run / f"process-{index}.json").read_text()) for index in (0, 1)]


@pytest.mark.parametrize("name", ["ddp", "ddp-checkpointing", "fsdp", "fsdp-first-loads", "fsdp-no-adapter"])
def test_two_processes_have_the_loss_curve_and_the_weights_of_one(name: str, folder: Path, alone: Any) -> None:
    one = alone(ALONE[name])
    assert curve(folder / name) == pytest.approx(curve(one), rel=1e-4)
    found, expected = weights(folder / name), weights(one)
    assert found.keys() == expected.keys()
    for weight, values in expected.items():
        # attention does not depend on a bias of its keys: Adam makes whole steps of rounding errors there
        within = 1e-2 if weight.endswith("k_proj.bias") else 1e-5
        torch.testing.assert_close(
            found[weight], values, rtol=0, atol=within, msg=lambda text, at=weight: f"{at}: {text}"
        )


def test_processes_share_an_evaluation_and_find_what_one_does(folder: Path, tmp_path: Path) -> None:
    train(tmp_path, is_evaluated=True)
    one, two = (evaluations(run) for run in (tmp_path, folder / "ddp-evaluated"))
    assert [each["step"] for each in two] == [0, 3, 6]
    for found, expected in zip(two, one, strict=True):
        assert found["judges"] == expected["judges"]
        for name in ("reference_log_likelihood", "utility", "guard_accuracy", "guard_f1"):
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-4)


def test_shards_in_bfloat16_have_nearly_the_losses_of_one_process(folder: Path, alone: Any) -> None:
    expected = curve(alone(ALONE["fsdp-bfloat16"]), ["loss"])
    assert curve(folder / "fsdp-bfloat16", ["loss"]) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_batches_are_dealt_by_turns_so_that_a_step_has_the_samples_of_one_process(
    name: str, folder: Path, alone: Any
) -> None:
    ids = json.loads((alone(ALIKE) / "process-0.json").read_text())["ids"]
    assert sorted(int(each) for batch in ids for each in batch) == list(range(24))
    assert [left["ids"] for left in left_by(folder / name)] == [ids[0::2], ids[1::2]]


def test_the_batches_hold_other_numbers_of_labelled_images() -> None:
    made = uneven()
    labelled = {sum(len(each.image_labels) for each in made[at : at + 2]) for at in range(0, len(made), 2)}
    assert labelled == {0, 2, 3}


def test_a_round_that_samples_do_not_fill_takes_some_from_the_beginning(folder: Path) -> None:
    first, second = left_by(folder / "ddp-23")
    assert first["ids"][-1] == ["20", "21"]
    assert second["ids"][-1] == ["22", "0"]


def test_with_fsdp_a_process_holds_about_half_of_the_numbers(folder: Path) -> None:
    for left in left_by(folder / "fsdp"):
        assert 0.4 < left["numbers_held"] / left["numbers"] < 0.6
    for left in left_by(folder / "ddp"):
        assert left["numbers_held"] == left["numbers"]


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_go_on_to_the_same_weights(name: str, folder: Path) -> None:
    again, unbroken = folder / f"{name}-again", folder / name
    found, expected = weights(again), weights(unbroken)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[weight], values) for weight, values in expected.items())
    assert curve(again) == curve(unbroken)
    # it did go on: the batches of four of six steps were not seen again
    for left, before in zip(left_by(again), left_by(unbroken), strict=True):
        assert left["ids"] == before["ids"][4:]


def test_a_checkpoint_of_shards_holds_no_copy_of_the_model(folder: Path) -> None:
    names = [{path.name for path in (folder / name / "checkpoint-6").iterdir()} for name in ("fsdp", "ddp")]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ddp-for-fsdp", "accelerate gives none on cpu and would train with DDP"),
        ("fsdp-1", "found version 1"),
        ("fsdp-meta-token", "which sharded weights (FSDP) cannot do"),
    ],
)
def test_where_weights_could_not_be_saved_as_asked_nothing_starts(name: str, message: str, folder: Path) -> None:
    for index in (0, 1):
        assert message in (folder / name / f"error-{index}.txt").read_text()
    assert not list((folder / name).glob("checkpoint-*"))


def test_shards_need_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TuningError, match="there is one process; start several"):
        train(tmp_path, fsdp=True)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(TuningError, match="there is one process; start several"):
        train(tmp_path)


def test_another_number_of_processes_does_not_go_on(folder: Path) -> None:
    with pytest.raises(TuningError, match="with other number of processes; use another folder"):
        train(folder / "ddp", HALF)
