"""Runs that end early, in real processes: killed, stopped by hand, and on a disk that fills up."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holisafe._files import hold
from holisafe.bench import measure
from holisafe.errors import RunError
from holisafe.records import Run
from small_bench import write_small_bench

TOKENS = 30


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty records: enough to be interrupted among them."""
    return write_small_bench(tmp_path_factory.mktemp("larger"), per_combination=8)


@pytest.fixture(scope="module")
def unbroken(checkpoint: Path, larger: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing interrupts."""
    return measure(str(checkpoint), out=tmp_path_factory.mktemp("unbroken"), **settings(larger))


def settings(data: Path) -> dict[str, Any]:
    return {"data": str(data), "max_new_tokens": TOKENS, "batch_size": 2}


def start(model: Path, data: Path, out: Path, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """The command, in a process of its own."""
    command = [
        "bench",
        str(model),
        "--data",
        str(data),
        "--out",
        str(out),
        "--max-new-tokens",
        str(TOKENS),
        "--batch-size",
        "2",
    ]
    # a test run in the background has Ctrl-C switched off, which the command would inherit
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "import torch; torch.set_num_threads(1); from holisafe.cli import app; app()"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # in a folder that is no repository: Inspect calls git there, whose index a small disk would leave locked
    return subprocess.Popen([sys.executable, "-c", code, *command], preexec_fn=before, cwd=out.parent, **pipes)  # type: ignore[call-overload, no-any-return]


def answered(out: Path) -> int:
    journal = out / "responses.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for_answers(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while answered(out) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_goes_on_and_ends_as_an_unbroken_one(
    how: signal.Signals, checkpoint: Path, larger: Path, unbroken: Run, tmp_path: Path
) -> None:
    out = tmp_path / "broken"
    process = start(checkpoint, larger, out)
    wait_for_answers(process, out, 6)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-how if how is signal.SIGKILL else 130)
    assert how is signal.SIGKILL or "the same command resumes" in errors
    kept = answered(out)
    assert 6 <= kept < 40

    resumed = measure(str(checkpoint), out=out, **settings(larger))
    assert resumed.responses == unbroken.responses
    assert resumed.judgements == unbroken.judgements
    assert resumed.provenance["summaries"] == unbroken.provenance["summaries"]
    assert answered(out) == 40  # what was answered before was not asked again


@pytest.mark.parametrize("size", [26_000, 32_000, 60_000])
def test_a_disk_that_fills_up_ends_the_run_and_keeps_the_answers(
    size: int, checkpoint: Path, larger: Path, tmp_path: Path
) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    process = start(checkpoint, larger, tmp_path, small_disk)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    (said,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert said.startswith(f"error: cannot write to {tmp_path}: File too large; make room. The "), said
    assert "kept" in said
    lines = (tmp_path / "responses.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines and all(json.loads(line)["error"] is None for line in lines)


def test_a_folder_in_use_by_another_run_is_refused(data: Path, tmp_path: Path) -> None:
    with hold(tmp_path, RunError), pytest.raises(RunError, match="another run is active"):
        measure("mockllm/model", data=str(data), out=tmp_path)
