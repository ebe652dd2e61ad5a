"""`holisafe demo` measures the embedded model for real, and leaves a run and its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from holisafe.bench import read_run
from holisafe.cli import app
from holisafe.taxonomy import Combination


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    return CliRunner().invoke(
        app, ["demo", "--samples", "6", "--max-tokens", "2", "--out", str(folder), "--json"], catch_exceptions=False
    )


def test_every_combination_is_measured_by_both_string_judges(result: Result, folder: Path) -> None:
    assert result.exit_code == 0, result.output
    run = read_run(folder)
    assert {sample.combination for sample in run.samples} == set(Combination)
    assert run.verdicts.keys() == {"holisafe", "refusal"}
    assert all(response.error is None for response in run.responses)


def test_the_report_is_where_the_output_says(result: Result, folder: Path) -> None:
    figures = json.loads(result.stdout)
    assert figures["report"] == str(folder / "report.html")
    assert "Pocket on HoliSafe-Open" in Path(figures["report"]).read_text(encoding="utf-8")


def test_it_says_that_answers_are_shorter_than_the_protocol_has(result: Result) -> None:
    assert "2 new tokens, fewer than the protocol's 512" in result.stderr


def test_a_second_call_reads_the_run_back(result: Result, folder: Path) -> None:
    before = (folder / "responses.jsonl").read_bytes()
    again = CliRunner().invoke(app, ["demo", "--samples", "6", "--max-tokens", "2", "--out", str(folder)])
    assert again.exit_code == 0, again.output
    assert (folder / "responses.jsonl").read_bytes() == before
    assert f"The report is in {folder / 'report.html'}" in again.stdout.replace("\n", "")
