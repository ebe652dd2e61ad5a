"""`holisafe tune` and `holisafe merge`, in their own processes where that matters."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from holisafe.cli import app
from holisafe.datasets.export import export_parquet
from holisafe.images import content_hash
from holisafe.models import load
from holisafe.records import ImageRef
from holisafe.tuning import _tune
from tuning.data import picture, sample
from tuning.tiny_run import SETTINGS, safety, write_data, write_model

USUAL = [
    *("--device", "cpu", "--precision", "float32", "--max-steps", "4", "--batch-size", "2"),
    *("--gradient-accumulation-steps", "2", "--lora-r", "2", "--learning-rate", "1e-3"),
    *("--learning-rate", "guard=1e-2", "--save-steps", "1", "--logging-steps", "1"),
]

KILLED = """
import os, signal
from holisafe.cli import app
from holisafe.tuning import _tune

class Kill(_tune._Steps):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == 3:
            os.kill(os.getpid(), signal.SIGKILL)

_tune._Steps = Kill
app()
"""
"""The command, which ends itself after its third step as a lost machine would."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and data."""
    folder = tmp_path_factory.mktemp("place")
    write_model(folder / "model")
    write_data(folder / "data")
    return folder


@pytest.fixture(scope="module")
def tuned(place: Path) -> Path:
    """A folder with a tuned model that was never interrupted."""
    told = holisafe("tune", *command(place, place / "tuned"))
    assert told.exit_code == 0, told.stderr
    assert (
        "step 4/4, " in told.stderr
        and "loss " in told.stderr
        and "answer " in told.stderr
        and "acc. image " in told.stderr
    )
    assert "loss_answer" in told.stdout and "step 4" in told.stdout
    return place / "tuned"


def command(place: Path, out: Path, *more: object) -> list[str]:
    return [str(place / "model"), "--data", str(place / "data"), "--out", str(out), *USUAL, *map(str, more)]


def holisafe(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "120"})


@contextmanager
def little_room(most: int) -> Iterator[None]:
    """No file can grow beyond `most` bytes, which ends in the same error as a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {f"{p.name}:{n}": t for p in sorted(folder.rglob("*.safetensors")) for n, t in load_file(p).items()}


def assert_same(one: Path, other: Path) -> None:
    found, expected = weights(one / "tuned"), weights(other / "tuned")
    assert found.keys() == expected.keys() and found
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_killed_and_started_again_it_comes_to_the_same_weights(place: Path, tuned: Path, tmp_path: Path) -> None:
    arguments = command(place, tmp_path)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "tune", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},  # the same sums need the same threads
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "checkpoint-2").is_dir() and not (tmp_path / "tuned").exists()
    told = holisafe("tune", *arguments)
    assert told.exit_code == 0, told.stderr
    assert_same(tmp_path, tuned)
    for name in ("README.md", "tuned.json"):
        assert (tmp_path / "tuned" / name).read_text() == (tuned / "tuned" / name).read_text()


def test_a_finished_run_says_so(place: Path, tuned: Path) -> None:
    before = (tuned / "tuned" / "tuned.json").stat().st_mtime_ns
    told = holisafe("tune", *command(place, tuned, "--json"))
    assert told.exit_code == 0 and f"it was tuned already: {tuned / 'tuned'}" in told.stderr
    assert json.loads(told.stdout)["was_there"] is True
    assert (tuned / "tuned" / "tuned.json").stat().st_mtime_ns == before


def test_another_recipe_is_refused(place: Path, tuned: Path) -> None:
    told = holisafe("tune", *command(place, tuned, "--seed", 5))
    assert told.exit_code == 2 and "settings.seed is 0 there, 5 now" in told.stderr


def test_a_full_disk_is_said_and_the_last_checkpoint_kept(place: Path, tuned: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(tuned, out)
    for name in ("tuned", "checkpoint-4"):
        shutil.rmtree(out / name)
    largest = max(path.stat().st_size for path in (out / "checkpoint-3").iterdir())
    with little_room(largest // 2):
        full = holisafe("tune", *command(place, out))
    assert full.exit_code == 2 and "step 4: the checkpoint cannot be written" in full.stderr
    assert f"the last good checkpoint is {out / 'checkpoint-3'}: make room" in full.stderr
    assert holisafe("tune", *command(place, out)).exit_code == 0
    assert_same(out, tuned)


def test_a_disk_too_full_for_the_result_keeps_the_checkpoint(place: Path, tuned: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(tuned, out)
    shutil.rmtree(out / "tuned")
    largest = max(path.stat().st_size for path in (tuned / "tuned").rglob("*.safetensors"))
    with little_room(largest - 1):
        full = holisafe("tune", *command(place, out))
    assert full.exit_code == 2 and "the tuned model cannot be written" in full.stderr
    assert not (out / "tuned.unfinished").exists() and not (out / "tuned").exists()
    assert holisafe("tune", *command(place, out)).exit_code == 0
    assert_same(out, tuned)


def test_interrupted_it_says_that_nothing_is_lost(
    place: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupt(_tune._Steps):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(_tune, "_Steps", Interrupt)
        stopped = holisafe("tune", *command(place, tmp_path))
    assert stopped.exit_code == 130 and "the same command resumes from the newest" in stopped.stderr
    assert holisafe("tune", *command(place, tmp_path)).exit_code == 0
    assert_same(tmp_path, tuned)


def test_a_dry_run_says_what_would_be_trained(place: Path, tmp_path: Path) -> None:
    told = holisafe("tune", *command(place, tmp_path / "run", "--dry-run"))
    assert told.exit_code == 0, told.stderr
    assert all(part in told.stdout for part in ("language", "projector", "vision", "guard"))
    assert "4 optimizer steps of 2 × 2 samples" in told.stdout and "at most 4,096 tokens" in told.stdout
    assert "Per GPU in GiB" in told.stdout and "FSDP2" in told.stdout and "TFLOP per micro-batch" in told.stdout
    planned = json.loads(holisafe("tune", *command(place, tmp_path / "run", "--dry-run", "--json")).stdout)
    assert planned["by_combination"] == {"SSS": 8, "SSU": 0, "USU": 8, "UUU": 0, "SUU": 0}
    assert (
        planned["learned"]["guard"]["learning_rate"] == 1e-2 and planned["learned"]["vision"]["learning_rate"] == 1e-3
    )
    assert not (tmp_path / "run").exists()


def test_a_launcher_is_written_for_so_many_gpus(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["tune", str(place / "model"), "--fsdp", "--out", str(tmp_path / "run"), "--launcher", "8"]
    monkeypatch.setattr(sys, "argv", ["holisafe", *words])
    told = holisafe(*words)
    assert told.exit_code == 0, told.stderr
    file = tmp_path / "run" / "accelerate-8-fsdp.yaml"
    assert file.is_file() and list((tmp_path / "run").iterdir()) == [file]
    assert told.stdout.split() == [
        *("accelerate", "launch", "--config_file", str(file), "-m", "holisafe", "tune", str(place / "model")),
        *("--out", str(tmp_path / "run"), "--gradient-accumulation-steps", "2"),
    ]


def test_settings_of_fsdp_are_checked_before_anything_is_planned_or_written(place: Path, tmp_path: Path) -> None:
    for words, what in (
        (("--dry-run", "--fsdp", "--fsdp-config", "nonsense=1"), "unknown nonsense"),
        (("--dry-run", "--fsdp-config", "cpu_offload=true"), "FSDP was not asked for"),
        (("--launcher", "8", "--fsdp", "--fsdp-config", "cpu_offload=true"), "change them there"),
    ):
        told = holisafe("tune", str(place / "model"), "--out", str(tmp_path / "run"), *words)
        assert told.exit_code == 2 and what in told.stderr.replace("\n", " "), told.stderr
    assert not (tmp_path / "run").exists()


def test_a_plan_without_a_model_needs_a_recipe_for_one(tmp_path: Path) -> None:
    for words, what in (
        (("--dry-run",), "MODEL: found none"),
        (("--recipe", "star-dss", "--dry-run"), "the architecture of the model is not among those shipped"),
    ):
        told = holisafe("tune", *words)
        assert told.exit_code == 2 and what in told.stderr.replace("\n", " "), told.stderr


def test_options_go_before_the_recipe(place: Path, tmp_path: Path) -> None:
    recipe = {"settings": SETTINGS.to_json(), "guard": {"joint_head": False}, "about": "small"}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    given = [
        "--recipe",
        tmp_path / "recipe.json",
        "--num-train-epochs",
        "2",
        "--learning-rate",
        "vision=off",
        "--seed",
        "3",
    ]
    told = holisafe("tune", place / "model", "--data", place / "data", "--device", "cpu", "--dry-run", "--json", *given)
    assert told.exit_code == 0, told.stderr
    planned = json.loads(told.stdout)
    expected = {
        "max_steps": None,
        "num_train_epochs": 2.0,
        "learning_rates": {**SETTINGS.learning_rates, "vision": None},
        "seed": 3,
        "lora_dropout": 0.2,
        "method": "vgm",
    }
    assert {name: planned["settings"][name] for name in expected} == expected
    assert planned["learned"].keys() == {"language", "projector", "guard"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--learning-rate", "brain=1e-3"], "learning_rates: expected some of language, projector, vision, guard"),
        (["--learning-rate", "much"], "expected a number such as 5e-5"),
        (["--method", "vgn"], "unknown tuning method 'vgn'. Did you mean vgm"),
        (["--method-args", "image_weight"], "--method-args: expected NAME=VALUE, found 'image_weight'"),
        (["--method-args", "image_weight=-1"], "image_weight: expected a number at least 0"),
        (["--precision", "fp16"], "unknown precision 'fp16'"),
        (["--recipe", "nothing"], "unknown recipe 'nothing'"),
        (["--batch-size", "0"], "batch_size: expected a number at least 1"),
        (["--split", "tset"], "tset"),
        (["--max-refusal-rate", "2"], "refusal_rate: expected a number in [0, 1]"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(place: Path, tmp_path: Path, more: list[str], message: str) -> None:
    told = holisafe("tune", *command(place, tmp_path, *more))
    assert told.exit_code == 2 and message in told.stderr
    assert told.stdout == ""


def test_an_image_that_cannot_be_opened_costs_the_exit_code(place: Path, tmp_path: Path) -> None:
    whole = picture("green").data
    assert whole is not None
    cut = sample("cut", images=(ImageRef(content_hash(whole), data=whole[:60]),))
    export_parquet([*safety(), cut], tmp_path / "data", "train")
    told = holisafe(
        "tune", place / "model", "--data", tmp_path / "data", "--out", tmp_path / "run", *USUAL, "--max-steps", "1"
    )
    assert told.exit_code == 1, told.stderr
    assert "1 samples have an image that cannot be opened" in told.stderr
    assert (tmp_path / "run" / "tuned" / "tuned.json").is_file()


def test_evaluations_are_logged_and_in_the_card(place: Path, tuned: Path, tmp_path: Path) -> None:
    told = holisafe("tune", *command(place, tmp_path, "--eval-steps", 2))
    assert told.exit_code == 0, told.stderr
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "evaluation" in row] == [0, 2, 4]
    assert all(f"evaluation at step {step}: refusal rate on SSS " in told.stderr for step in (0, 2, 4))
    card = (tmp_path / "tuned" / "README.md").read_text()
    assert "| | at step 0 | at step 4 |" in card and "| rr |" in card and "| utility | 0 |" in card
    assert_same(tmp_path, tuned)


def test_a_bound_that_is_passed_ends_it_and_what_was_within_is_kept(place: Path, tmp_path: Path) -> None:
    wild = ["--learning-rate", "language=30", "--eval-steps", 1, "--max-utility-drop", 0.02]
    told = holisafe("tune", *command(place, tmp_path, *wild))
    assert told.exit_code == 0 and "stopped early at step 2: the utility has fallen by" in told.stderr
    training = json.loads((tmp_path / "tuned" / "tuned.json").read_text())["training"]
    assert training["steps"] == 1 and training["stopped"].startswith("at step 2: the utility has fallen by")
    within = load_file(tmp_path / "checkpoint-1" / "learned.safetensors")
    guard = load_file(tmp_path / "tuned" / "guard" / "guard.safetensors")
    assert all(torch.equal(tensor, within[f"base_model.model.guard.{name}"]) for name, tensor in guard.items())
    card = (tmp_path / "tuned" / "README.md").read_text()
    assert "Training was stopped early at step 2" in card and "| | at step 0 | at step 1 |" in card


def test_merging_gives_one_plain_checkpoint(place: Path, tuned: Path, tmp_path: Path) -> None:
    told = holisafe("merge", tuned, "--out", tmp_path / "plain")
    assert told.exit_code == 0, told.stderr
    assert not list((tmp_path / "plain").glob("adapter*"))
    plain, laid = load(str(tmp_path / "plain"), device="cpu", guard="own"), load(str(tuned), device="cpu", guard="own")
    expected = dict(laid.model.state_dict())
    assert plain.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in plain.model.state_dict().items())
    again = holisafe("merge", tuned, "--out", tmp_path / "plain")
    assert again.exit_code == 2 and "is there already" in again.stderr


def test_only_a_tuned_model_is_merged(place: Path, tmp_path: Path) -> None:
    told = holisafe("merge", place / "model", "--out", tmp_path / "plain")
    assert told.exit_code == 2 and "holds no tuned model" in told.stderr


def test_help_names_the_options() -> None:
    told = holisafe("tune", "--help").stdout
    assert all(
        option in told
        for option in ("--learning-rate", "--dry-run", "--general", "--recipe", "--save-steps", "--batch-size")
    )
    assert "merge" in holisafe("--help").stdout


def test_a_template_without_a_place_for_images_is_said_in_one_line(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "model", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{% for m in messages %}{{ m['role'] }}: {% endfor %}")
    for more in ([], ["--dry-run"]):
        told = holisafe("tune", tmp_path / "model", "--data", place / "data", "--out", tmp_path / "run", *USUAL, *more)
        assert (
            told.exit_code == 2 and "the chat template (chat_template.jinja) cannot ask about an image" in told.stderr
        )
        assert "Traceback" not in told.stderr
