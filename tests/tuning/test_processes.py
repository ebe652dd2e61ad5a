"""Two processes learn what one does, whether each holds the whole model (DDP) or a shard of it (FSDP)."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader

from holisafe.errors import TuningError
from holisafe.tuning import TuneConfig
from holisafe.tuning._checkpoint import LEARNED_FILE, WEIGHT_SHARDS, last_checkpoint, read_weights
from holisafe.tuning._processes import fsdp_options, lost_process
from tuning import train_processes
from tuning.data import with_rates
from tuning.train_processes import ALIKE, HALF, RUNS, train, uneven

pytestmark = pytest.mark.slow

CURVE = ("loss", "loss_answer", "loss_image", "loss_combination", "loss_category", "grad_norm", "learning_rate")
ALONE: dict[str, TuneConfig] = {
    "ddp": ALIKE,
    "ddp-checkpointing": ALIKE,
    "fsdp": ALIKE,
    "fsdp-full": ALIKE,
    "fsdp-first-loads": ALIKE,
    "fsdp-no-adapter": with_rates(ALIKE, language=None),
    "fsdp-bfloat16": replace(ALIKE, precision="bfloat16", gradient_checkpointing=True),
}
"""What one process does in place of two."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the runs of two processes left, each in its own folder."""
    where = tmp_path_factory.mktemp("two")
    train(where / "one")
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
    return read_weights(run / "checkpoint-6")


def left_by(run: Path) -> list[Any]:
    return [json.loads((run / f"process-{index}.json").read_text()) for index in (0, 1)]


@pytest.mark.parametrize(
    "name", ["ddp", "ddp-checkpointing", "fsdp", "fsdp-full", "fsdp-first-loads", "fsdp-no-adapter"]
)
def test_two_processes_have_the_loss_curve_and_the_weights_of_one(name: str, folder: Path, alone: Any) -> None:
    one = alone(ALONE[name])
    assert curve(folder / name) == pytest.approx(curve(one), rel=1e-4)
    assert_same(weights(folder / name), weights(one))


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
        assert 0.4 < left["numbers_held"] / left["numbers"] < 0.7
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


def test_a_checkpoint_of_shards_has_a_part_of_each_process_and_one_copy_of_the_guard(folder: Path) -> None:
    checkpoint = folder / "fsdp" / "checkpoint-6"
    found = FileSystemReader(checkpoint / WEIGHT_SHARDS).read_metadata().state_dict_metadata
    assert {name.removeprefix("model.") for name in found} == weights(folder / "fsdp").keys()
    for name, each in found.items():
        in_one_piece = ".guard." in name or each.size[0] == 1
        assert len(each.chunks) == (1 if in_one_piece else 2), name
    assert not (checkpoint / LEARNED_FILE).exists()
    whole = [{path.name for path in (folder / name / "checkpoint-6").iterdir()} for name in ("fsdp-full", "ddp")]
    assert whole[0] == whole[1]


def test_accelerate_merges_the_shards_of_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    shards = folder / "fsdp" / "checkpoint-6" / WEIGHT_SHARDS
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "merge-weights", str(shards), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    merged, expected = load_file(tmp_path / "model.safetensors"), weights(folder / "fsdp")
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], values) for name, values in expected.items())


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_all_processes_have_the_guards_gradient_of_one(name: str, folder: Path) -> None:
    first, second = (torch.tensor(left["guard_gradient"]) for left in left_by(folder / name))
    one = torch.tensor(json.loads((folder / "one" / "process-0.json").read_text())["guard_gradient"])
    assert len(one) > 0 and one.abs().max() > 1e-3
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["fsdp-of-one", "ddp-of-fsdp"])
def test_two_processes_resume_what_one_began_and_without_shards_what_was_sharded(name: str, folder: Path) -> None:
    assert_same(weights(folder / name), weights(folder / "one"))
    assert all(len(left["ids"]) == 2 for left in left_by(folder / name))


@pytest.mark.parametrize("name", ["fsdp", "ddp"])
def test_one_process_resumes_what_two_began(name: str, folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder / name, again)
    shutil.rmtree(again / "checkpoint-6")
    train(again)
    assert_same(weights(again), weights(folder / "one"))


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for weight, values in expected.items():
        # attention does not depend on a bias of its keys: Adam makes whole steps of rounding errors there
        within = 1e-2 if weight.endswith("k_proj.bias") else 1e-5
        torch.testing.assert_close(
            found[weight], values, rtol=0, atol=within, msg=lambda text, at=weight: f"{at}: {text}"
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fsdp-1", "found version 1"),
        ("fsdp-wrapped", "activation_checkpointing: a guard does not see through its wrappers"),
        ("fsdp-offload", "cpu_offload: the weights are on the CPU already"),
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


def test_settings_of_shards_that_are_none_are_refused() -> None:
    for given, what in (
        ({"sharding": 1}, "unknown sharding"),
        ({"version": 1}, "expected 2, found 1"),
        ({"state_dict_type": "LOCAL_STATE_DICT"}, "expected SHARDED_STATE_DICT or FULL_STATE_DICT"),
    ):
        with pytest.raises(TuningError, match=what):
            fsdp_options(True, given)
    with pytest.raises(TuningError, match="FSDP was not asked for"):
        fsdp_options(False, {"version": 2})


def test_an_error_of_a_lost_process_is_told_from_others() -> None:
    lost = RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1\nmore")
    assert lost_process(lost) == "[pair.cc:534] Connection closed by peer [127.0.0.1]:1"
    assert lost_process(RuntimeError("shapes cannot be multiplied")) is None


def test_a_run_whose_steps_would_have_other_samples_does_not_go_on(folder: Path) -> None:
    with pytest.raises(TuningError, match="holds a run of 2 batches per optimizer step") as raised:
        train(folder / "ddp", HALF)
    assert "use gradient_accumulation_steps 2 with 1 process" in str(raised.value)
    assert last_checkpoint(folder / "ddp") == folder / "ddp" / "checkpoint-6"
