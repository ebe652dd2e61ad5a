"""`holisafe serve`: options and what they refuse; that it listens and stops."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from endpoint import serve
from holisafe.cli import app
from holisafe.serve import read_keys


def invoke(*words: str) -> tuple[int, str]:
    told = CliRunner().invoke(app, ["serve", *words])
    return told.exit_code, told.output


def test_check_says_what_would_be_served() -> None:
    code, told = invoke("pocket-safe", "--check", "--policy", "block")
    assert code == 0, told
    assert "would serve pocket-safe on http://127.0.0.1:8000/v1, policy block" in told


def test_check_asks_the_server_behind_what_it_serves() -> None:
    with serve() as behind:
        code, told = invoke("--upstream", behind.url, "--guard", "pocket-safe", "--check")
    assert code == 0 and "would serve served on" in told, told
    code, told = invoke("--upstream", behind.url, "--guard", "pocket-safe", "--check")
    assert code == 2 and "cannot be reached" in told


@pytest.mark.parametrize(
    "words",
    [["--upstream", "http://127.0.0.1:9/v1", "--guard", "pocket-safe"], ["pocket-safe", "--ui", "--compare", "none"]],
)
def test_what_cannot_be_served_leaves_no_folder_for_review(tmp_path: Path, words: list[str]) -> None:
    code, told = invoke(*words, "--check", "--review-dir", str(tmp_path / "sample"))
    assert code == 2 and not (tmp_path / "sample").exists(), told


def test_an_engine_that_gives_no_hidden_states_is_refused_at_the_start() -> None:
    with serve() as behind:  # it answers chats, and has no embeddings
        words = ("--upstream", behind.url, "--guard", "pocket-safe", "--states", behind.url, "--check")
        code, told = invoke(*words)
    assert code == 2 and "gives none" in told, told


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["pocket-safe", "--host", "0.0.0.0"], "API keys are needed"),
        (["pocket-safe", "--upstream", "http://127.0.0.1:1/v1"], "one of them"),
        (["--upstream", "http://127.0.0.1:1/v1"], "needs --guard"),
        (["--upstream", "127.0.0.1", "--guard", "pocket-safe"], "--upstream 127.0.0.1"),
        (["pocket-safe", "--states", "http://127.0.0.1:1/v1"], "--states goes with --upstream"),
        (["pocket-safe", "--policy", "stop"], "unknown mode 'stop'"),
        (["pocket-safe", "--decide-by", "luck"], "unknown decide by 'luck'"),
        (["pocket-safe", "--api-keys", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--new-key", "a b"], "letters"),
        (["pocket-safe", "--review-images"], "--review-dir"),
        (["nowhere", "--review-dir", "sample", "--review-rate", "2"], "--review-rate"),
        (["pocket-safe", "--compare", "pocket"], "--ui"),
        (["pocket-safe", "--ui", "--compare", "pocket", "--policy", "block"], "--policy block"),
        (["pocket-safe", "--ui", "--compare", "pocket", "--output-policy", "block"], "--output-policy block"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_is_loaded(words: list[str], why: str) -> None:
    code, told = invoke(*words)
    assert code == 2 and why in " ".join(told.split())


def test_a_new_key_is_shown_once_and_its_entry_is_a_line_of_the_file(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["serve", "--new-key", "team"])
    assert told.exit_code == 0
    key = re.search(r"hs-[\w-]{40,}", told.stderr)
    assert key and key[0] not in told.stdout
    file = tmp_path / "keys.jsonl"
    file.write_text(told.stdout)
    assert read_keys(file)[0].name == "team" and json.loads(told.stdout)["sha256"]


def test_it_listens_and_ends_when_told_to() -> None:
    words = [sys.executable, "-m", "holisafe", "serve", "pocket-safe", "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as run:
        assert run.stderr is not None
        url = next(found[0] for line in run.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        assert httpx.get(f"{url}/health", trust_env=False, timeout=60).json() == {"status": "ok"}
        run.send_signal(signal.SIGTERM)
        rest = run.stderr.read()
        run.wait(60)
    assert "Traceback" not in rest
