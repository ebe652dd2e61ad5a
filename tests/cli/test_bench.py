"""`holisafe bench` prints the figures, as a table or as one JSON object, and ends with the right exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holisafe.cli import app
from small_bench import write_small_bench

MOCK = "mockllm/model"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bench(tmp_path_factory.mktemp("small_bench"))


def test_json_is_one_object_with_every_figure(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", MOCK, "--data", str(data), "--out", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["rr"]["value"], figures["ssu"]["value"], figures["masr_macro"]["n"]) == (0.0, 1.0, 16)
    assert {"usu", "uuu", "suu", "masr_pooled", "twin_accuracy"} <= figures.keys()
    assert figures["judges"].keys() == {"holisafe"}


def test_a_table_shows_each_figure_with_its_interval(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["bench", MOCK, "--data", str(data), "--out", str(tmp_path / "run"), "--limit", "10"]
    )
    assert result.exit_code == 0, result.output
    assert "SSU" in result.stdout and "100.0" in result.stdout
    assert "sample 10/10" in result.stderr


def test_errors_go_to_standard_error_with_exit_code_2(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "poket", "--data", str(data), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Did you mean pocket" in result.stderr


def test_the_folder_is_named_after_model_and_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["bench", MOCK, "--data", str(data)]).exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("mockllm_model-") and (folder / "run.json").exists()


def test_a_sample_that_failed_is_told_and_costs_no_more(data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(data, tmp_path / "data")
    next((copy / "images").rglob("*.png")).write_bytes(b"\x89PNG\r\n\x1a\n")
    result = CliRunner().invoke(app, ["bench", MOCK, "--data", str(copy), "--out", str(tmp_path / "run")])
    assert "2 of 20 samples ended in an error, e.g. ImageError" in result.stderr, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
