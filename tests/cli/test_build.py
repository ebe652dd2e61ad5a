from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drawn_pictures import draw
from holisafe.cli import app


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_builds_and_prints_every_step(place: Path) -> None:
    told = CliRunner().invoke(app, ["build", "pictures", "--labels", "labels.csv", "--out", "data"])
    assert told.exit_code == 0
    assert all(step in told.output for step in ("pictures", "labels", "dedup", "questions", "check", "twins"))
    assert "not checked: whether the picture shows what its label says" in told.output


def test_it_prints_one_object(place: Path) -> None:
    told = CliRunner().invoke(app, ["build", "pictures", "--labels", "labels.csv", "--out", "data", "--json"])
    built = json.loads(told.output)
    assert built["errors"] == 0
    assert [step["step"] for step in built["steps"]][:3] == ["pictures", "labels", "dedup"]


def test_the_plan_counts_calls_at_most_and_asks_nothing(place: Path) -> None:
    command = ["build", "pictures", "--labels", "labels.csv", "--out", "data", "--model", "mockllm/model", "--plan"]
    told = CliRunner().invoke(app, [*command, "--json", "--price-in", "1", "--price-out", "1"])
    parts = {part["name"]: part for part in json.loads(told.output)["parts"]}
    assert parts["questions"]["calls"] == 10 * 3 + 10 * 2
    assert parts["answers"]["calls"] == parts["votes"]["calls"] == 50 + 20
    assert parts["questions"]["text"] > 0
    assert not (place / "data" / "steps" / "votes.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plan"], "without --model nothing is asked"),
        (["--check-model", "mockllm/model"], "none that writes"),
        (["--labels", "missing.csv"], "missing.csv: no such file"),
        (["--judge", "rubric"], "asks a model"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(place: Path, options: list[str], said: str) -> None:
    told = CliRunner().invoke(app, ["build", "pictures", "--out", "data", *options])
    assert told.exit_code == 2
    assert said in told.output
    assert told.output.count("\n") == 1
