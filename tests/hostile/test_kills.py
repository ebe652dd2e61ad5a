"""`holisafe bench` and `holisafe tune`, killed at moments drawn from a seed and started again: nothing is different."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from holisafe.bench import read_run
from small_bench import write_small_bench
from tuning.tiny_run import write_data, write_model

pytestmark = pytest.mark.slow

SEED = 28


def moments(seed: int, number: int, longest: float) -> Iterator[float]:
    """How many seconds after its first sign of life a process is killed."""
    chance = random.Random(f"{seed}")
    for _ in range(number):
        yield chance.random() ** 2 * longest


def run(arguments: list[str], sign: Path, wait: float | None) -> bool:
    """Run a command; with `wait`, kill it so many seconds after `sign` appears. Whether it was killed."""
    # the same sums need the same threads
    process = subprocess.Popen(
        [sys.executable, "-m", "holisafe", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if wait is not None:
        while not sign.exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 0 or (wait is not None and process.returncode == -signal.SIGKILL), told
    return process.returncode != 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data, and what the commands give that nobody interrupts."""
    folder = tmp_path_factory.mktemp("kills")
    tiny_models.save(tiny_models.llava(), folder / "bench-model")
    write_small_bench(folder / "bench-data", per_combination=6)
    write_model(folder / "tune-model")
    write_data(folder / "tune-data")
    run(bench(folder, folder / "bench"), folder, None)
    run(tune(folder, folder / "tune"), folder, None)
    return folder


def bench(place: Path, out: Path) -> list[str]:
    model, data = str(place / "bench-model"), str(place / "bench-data")
    return ["bench", model, "--data", data, "--out", str(out), "--max-new-tokens", "20", "--batch-size", "2",
            "--device", "cpu"]  # fmt: skip


def tune(place: Path, out: Path) -> list[str]:
    settings = [
        *("--device", "cpu", "--precision", "float32", "--max-steps", "6", "--batch-size", "2", "--lora-r", "2"),
        *("--gradient-accumulation-steps", "1", "--save-steps", "1", "--logging-steps", "1"),
    ]
    return ["tune", str(place / "tune-model"), "--data", str(place / "tune-data"), "--out", str(out), *settings]


MORE = [pytest.param(seed, 8, marks=pytest.mark.bulk) for seed in range(2)]


@pytest.mark.parametrize(("seed", "kills"), [(SEED, 1), *MORE])
def test_a_bench_killed_at_any_moment_ends_as_an_unbroken_one(
    seed: int, kills: int, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for wait in moments(seed, kills, 2.0):
        run(bench(place, out), out / "responses.jsonl", wait)
    run(bench(place, out), out, None)
    found, expected = read_run(out), read_run(place / "bench")
    message = f"seed {seed}"
    assert found.responses == expected.responses, message
    assert found.judgements == expected.judgements, message
    assert found.provenance["summaries"] == expected.provenance["summaries"], message


@pytest.mark.parametrize(("seed", "kills"), [(SEED, 1), *MORE])
def test_a_tuning_killed_at_any_moment_gives_the_same_weights(
    seed: int, kills: int, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for wait in moments(seed, kills, 4.0):
        run(tune(place, out), out / "tune.json", wait)
    run(tune(place, out), out, None)
    found, expected = weights(out), weights(place / "tune")
    assert found.keys() == expected.keys() and found
    assert all(torch.equal(found[name], expected[name]) for name in expected), f"seed {seed}"


def weights(out: Path) -> dict[str, torch.Tensor]:
    files = sorted((out / "tuned").rglob("*.safetensors"))
    return {f"{path.name}:{name}": tensor for path in files for name, tensor in load_file(path).items()}
