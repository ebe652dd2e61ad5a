"""Every command and every Python block of README and docs runs as written, on tiny models and few samples."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser
from typer.testing import CliRunner

from docs.snippets import PAGES, ROOT, Block, add_runs, blocks, commands, make_place
from holisafe.benchmarks._registry import _BENCHMARKS
from holisafe.cli import app
from holisafe.datasets._registry import _DATASETS
from holisafe.defences import DEFENCES
from holisafe.editing import EDITING_METHODS
from holisafe.judges._registry import _JUDGES
from holisafe.tuning import METHODS

SMALL = {
    "bench": ["--limit", "5", "--max-new-tokens", "2"],
    "blind": ["--features", "pixels"],
    "calibrate": ["--flag-rate", "0.6", "--limit", "20"],
    "edit": ["--limit", "5", "--max-new-tokens", "2"],
    "defence fit": ["--limit", "60"],
    "demo": ["--samples", "5", "--max-new-tokens", "2"],
    "score": ["--no-by-category"],
    "study": ["--limit", "5", "--max-new-tokens", "2"],
    "serve": ["--check"],
    "tune": ["--max-steps", "1", "--batch-size", "4", "--gradient-accumulation-steps", "1", "--lora-r", "2"],
}
"""Added to commands that would take long, or need more data; the last of an option counts."""

MOCK = "mockllm/model"
STANDS_FOR = {"openai/gpt-4o": MOCK, "cuda": "cpu", "cuda:1": "cpu", "qwen2.5-vl-7b": "my-recipe.json"}
"""Words that need what is not here, and what stands for them."""

IN_PYTHON = {
    r"limit=200\)": "limit=5, max_new_tokens=2)",
    r"limit=200\b": "limit=5",
    r"max_new_tokens=\d+": "max_new_tokens=2",
    r"max_steps=300, batch_size=4(, gradient_accumulation_steps=4)?": "max_steps=1, batch_size=4, lora_r=2",
    r'load_samples\("open", "calibration"\)': 'load_samples("open", "calibration")[:20]',
    r"flag_rate=0\.05": "flag_rate=0.6",
}
"""Patterns of the pages, and what is run in their place."""

RUNS = {
    "README.md": ("other",),
    "docs/report.md": ("mine", "base", "tuned"),
    "docs/tables.md": ("base", "tuned", "seed-1", "seed-2"),
    "docs/blind.md": ("mine",),
    "docs/bench.md": (),
}
"""Pages that read runs which they do not make, and the names of these."""

SHELLS = ("sh", "console", "bash")
CHECKED_ONLY = ("pip", "git", "make", "source", "cd", "sudo", "uv", "npm", "jq")
"""Programs that change the machine, or start what the tests of a room start: that their words exist is checked."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("docs"))


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page registers is gone after it."""
    for registry in (DEFENCES, METHODS, EDITING_METHODS, _JUDGES, _DATASETS, _BENCHMARKS):
        monkeypatch.setattr(registry, "_parts", dict(registry._parts))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.language in (*SHELLS, "python") for b in blocks(page))]
)
def test_the_page_runs_as_written(page: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    shutil.copytree(place, folder)
    monkeypatch.chdir(folder)
    if page in RUNS:
        add_runs(folder, *RUNS[page])
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look for the names in annotations
    for block in blocks(page):
        if block.why_not:
            continue
        if block.language == "python":
            _run_python(block, vars(module))
        elif block.language in SHELLS:
            for words in commands(block):
                _run_command(block, words)


def test_what_is_not_run_says_why() -> None:
    skipped = [block for page in PAGES for block in blocks(page) if block.why_not]
    assert all(len(block.why_not) > 10 for block in skipped)


def _run_python(block: Block, names: dict[str, Any]) -> None:
    text = block.text
    for written, here in IN_PYTHON.items():
        text = re.sub(written, here, text)
    try:
        exec(compile("\n" * block.line + text, block.page, "exec"), names)
    except Exception as error:
        pytest.fail(f"{block.page}:{block.line}: {type(error).__name__}: {error}")


def _run_command(block: Block, words: list[str]) -> None:
    program, *rest = [STANDS_FOR.get(word, word) for word in words]
    where = f"{block.page}:{block.line}: {' '.join(words)}"
    if program == "holisafe":
        small = [] if {"--dry-run", "--launcher", "--help", "-h"} & set(rest) else _small(rest)
        told = CliRunner().invoke(app, [*rest, *small])
        stands_in = MOCK in rest or any("guards/" in word for word in rest)  # models that judge at random
        unread = stands_in and "gave no verdict on any of" in told.output
        assert told.exit_code == 0 or unread, f"{where}\n{told.output}\n{told.exception!r}"
    elif program == "python":
        _check_script(where, rest)
    elif program == "inspect":
        _run_inspect(where, rest)
    elif program == "accelerate":
        launched = launch_command_parser().parse_args(rest[1:])
        assert launched.module and launched.num_processes == 4, where
        _run_command(block, [launched.training_script, *launched.training_script_args, "--device", "cpu"])
    elif program == "torchrun":
        launched = get_args_parser().parse_args(rest)
        assert launched.module and launched.nproc_per_node == "8", where
        alone = [word for word in launched.training_script_args if word != "--fsdp"]  # which takes several processes
        _run_command(block, [launched.training_script, *alone, "--device", "cpu"])
    elif program == "make":
        assert subprocess.run(["make", "-n", *rest], cwd=ROOT, capture_output=True).returncode == 0, where
    elif program in ("pip", "uv"):
        _check_extras(where, rest)
    else:
        assert program in CHECKED_ONLY, f"{where}: the suite knows no {program}"


def _small(words: list[str]) -> list[str]:
    return SMALL.get(" ".join(words[:2]), SMALL.get(words[0], []))


def _check_script(where: str, words: list[str]) -> None:
    """A script of the repository is there and knows the options that the page gives."""
    target = ["-m", words[1]] if words[0] == "-m" else [str(ROOT / words[0])]
    told = subprocess.run([sys.executable, *target, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, f"{where}\n{told.stderr}"
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert option in told.stdout, f"{where}: no option {option}"


def _run_inspect(where: str, words: list[str]) -> None:
    small = ["--limit", "2", "--max-tokens", "2", "--display", "none"] if words[0] == "eval" else []
    program = Path(sys.executable).with_name("inspect")
    told = subprocess.run([program, *words, *small], capture_output=True, text=True, check=False)
    assert told.returncode == 0, f"{where}\n{told.stdout[-2000:]}\n{told.stderr[-2000:]}"


def _check_extras(where: str, words: list[str]) -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for word in words:
        for named in re.findall(r"holisafe\[([\w,]+)\]", word):
            assert set(named.split(",")) <= extras.keys(), where
