"""A step's gradient does not depend on how its samples are split: batch × accumulation × processes commute."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tuning import gradients
from tuning.gradients import SAMPLES, STEP, difference, gradient

CASES = [(method, kind) for method in ("vgm", "meta-token", "sft") for kind in SAMPLES]
CASES += [("dpo", "general"), ("dpo/guard", "extreme"), ("vlguard", "general"), ("mirage/guard", "general")]
CASES += [("star-dss", "extreme"), ("star-dss/guard", "general"), ("safekey", "general"), ("safekey/guard", "extreme")]
OF_TWO = [(2, 1), (1, 2)]
"""Batch and accumulation of each of two processes."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], dict[str, Tensor]]:
    """The gradient of the step in one batch on one process."""

    @functools.cache
    def found(method: str, kind: str) -> dict[str, Tensor]:
        return gradient(tmp_path_factory.mktemp("whole"), method, SAMPLES[kind](), STEP, 1)

    return found


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two gloo processes left."""
    folder = tmp_path_factory.mktemp("two")
    launch = ["-m", "accelerate.commands.launch", "--num_processes=2", "--num_machines=1", "--main_process_port=0"]
    launch += ["--multi_gpu", "--mixed_precision=no", "--dynamo_backend=no"]
    cases = [f"{method},{kind},{batch},{steps}" for method, kind in CASES for batch, steps in OF_TWO]
    done = subprocess.run(
        [sys.executable, *launch, str(gradients.__file__), str(folder), *cases], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 2), (1, 4)])
@pytest.mark.parametrize(("method", "kind"), CASES)
def test_micro_batches_give_the_gradient_of_the_whole_batch(
    method: str, kind: str, batch_size: int, accumulation: int, whole: Callable[..., dict[str, Tensor]], tmp_path: Path
) -> None:
    found = gradient(tmp_path, method, SAMPLES[kind](), batch_size, accumulation)
    assert difference(whole(method, kind), found)[0] < 1e-5


@pytest.mark.parametrize(("batch_size", "accumulation"), OF_TWO)
@pytest.mark.parametrize(("method", "kind"), CASES)
def test_two_processes_give_the_gradient_of_one(
    method: str, kind: str, batch_size: int, accumulation: int, whole: Callable[..., dict[str, Tensor]], of_two: Path
) -> None:
    for process in (0, 1):
        left = load_file(of_two / f"{method},{kind},{batch_size},{accumulation}" / f"gradient-{process}.safetensors")
        assert difference(whole(method, kind), left)[0] < 1e-5


@pytest.mark.parametrize("kind", SAMPLES)
def test_grouping_by_length_keeps_the_gradient(
    kind: str, whole: Callable[..., dict[str, Tensor]], tmp_path: Path
) -> None:
    found = gradient(tmp_path, "vgm", SAMPLES[kind](), 2, 2, grouped=True)
    assert difference(whole("vgm", kind), found)[0] < 1e-5
