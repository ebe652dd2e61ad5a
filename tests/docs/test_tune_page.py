"""docs/tune.md names the files, fields, settings and messages that there are; `test_snippets` runs its blocks."""

from __future__ import annotations

import ast
import functools
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from holisafe import datasets
from holisafe.cli import app
from holisafe.guard import GuardConfig
from holisafe.tuning import TuneConfig, check_samples, read_recipe, recipe_names
from tuning.tiny_run import write_data, write_model

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tune.md"
TEXT = PAGE.read_text(encoding="utf-8")

SMALL = {
    "tune": [
        *("--max-steps", "2", "--batch-size", "2", "--gradient-accumulation-steps", "1", "--lora-r", "2"),
        *("--device", "cpu"),
    ],
    "calibrate": ["--flag-rate", "0.6"],
}
"""Added to a command that would take long, or need more data; the last of an option counts."""


def blocks(kind: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every command on the page, in order."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the runs `safe`, calibrated, and `bounded`, as the page's commands make them."""
    folder = tmp_path_factory.mktemp("tune-page")
    write_model(folder / "path/to/checkpoint")
    write_data(folder / "path/to/data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands():
            makes = words[1:2] == ["tune"] and words[-1] in ("runs/safe", "runs/bounded")
            if makes or words[1:3] == ["calibrate", "runs/safe"]:
                told = CliRunner().invoke(app, [*words[1:], *SMALL[words[1]]])
                assert told.exit_code == 0, f"{shlex.join(words)}: {told.output}"
        yield folder


def test_every_file_of_a_run_is_on_the_page(place: Path) -> None:
    section = TEXT.split("## What is saved")[1].split("\n## ")[0]
    for path in (place / "runs/safe").rglob("*"):
        below = path.relative_to(place / "runs/safe")
        if path.is_file() and path.name != ".lock" and not below.parts[0].startswith("checkpoint-"):
            assert f"`{path.name}`" in section or f"`{below}`" in section, below


def test_the_page_names_every_field_of_the_log_and_no_other(place: Path) -> None:
    section = TEXT.split("Each line of `log.jsonl`")[1].split("\n## ")[0]
    rows = [json.loads(line) for line in (place / "runs/bounded/log.jsonl").read_text().splitlines()]
    evaluations = [row["evaluation"] for row in rows if "evaluation" in row]
    assert len(evaluations) >= 2
    found = {name for row in (*rows, *evaluations) for name in row} - {"step"}
    cells = [row.split("|") for row in section.splitlines() if row.startswith("|")][2:]
    named = {name for row in cells for name in re.findall(r"`(\w+)`", row[2])} - {"step"}
    named |= set(re.findall(r"`(\w+)`", cells[-1][3]))
    assert named == found


def test_what_json_prints_is_on_its_page(place: Path) -> None:
    page = (ROOT / "docs/json.md").read_text(encoding="utf-8")
    section = page.split("## `holisafe tune MODEL --json`")[1].split("\n## ")[0]
    run_again = ["tune", "path/to/checkpoint", "--data", "path/to/data", "--out", "runs/safe", *SMALL["tune"], "--json"]
    again, planned = (json.loads(CliRunner().invoke(app, run_again + more).stdout) for more in ([], ["--dry-run"]))
    tables = [re.findall(r"^\| `(\w+)`", part, re.MULTILINE) for part in section.split("With `--dry-run`")]
    described = json.loads((place / "runs/safe/tuned/tuned.json").read_text())
    assert [sorted(table) for table in tables] == [sorted(again.keys() - described.keys()), sorted(planned)]
    assert again == {**described, "out": "runs/safe", "was_there": True}


def test_the_records_on_the_page_are_in_training_form(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 48), "brown").save(tmp_path / "images/bottle.png")
    (tmp_path / "data.json").write_text(blocks("json")[1])
    loaded = datasets.read(tmp_path / "data.json")
    assert not loaded.problems
    assert [sample.combination for sample in loaded.samples] == ["SSU", "SSS"]
    check_samples(loaded.samples, GuardConfig())


def test_the_page_names_every_recipe_and_setting() -> None:
    section = TEXT.split("## Recipes")[1].split("\n## ")[0]
    assert all(f"`{name}`" in section for name in recipe_names())
    without = section.split("without an option:\n")[1].split(". `guard`")[0]
    assert {field.name for field in fields(TuneConfig)} >= set(re.findall(r"`(\w+)`", without))


def test_the_recipe_on_the_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "my-recipe.json").write_text(blocks("json")[0])
    recipe = read_recipe(tmp_path / "my-recipe.json")
    assert recipe.config.rate("vision") is None and recipe.guard == GuardConfig(joint_head=False)


def messages() -> list[str]:
    rows = [row.split("|")[1] for row in TEXT.split("## When it stops")[1].splitlines() if row.startswith("| `")]
    return [message for row in rows for message in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("message", messages())
def test_a_message_on_the_page_is_one_that_is_given(message: str) -> None:
    assert any(message in text for text in texts())


@functools.cache
def texts() -> list[str]:
    """Every piece of text in the code of tuning, and in that of run folders."""
    files = [*(ROOT / "src/holisafe/tuning").rglob("*.py"), ROOT / "src/holisafe/_files.py"]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
