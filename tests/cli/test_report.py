"""`holisafe report` writes runs to a file, whole or not at all, and says what is wrong with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holisafe.cli import app
from small_bench import write_small_bench

MOCK = "mockllm/model"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = write_small_bench(tmp_path_factory.mktemp("small_bench"))
    folder = tmp_path_factory.mktemp("runs") / "mock"
    result = CliRunner().invoke(app, ["bench", MOCK, "--data", str(data), "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def test_a_run_folder_becomes_one_page_with_its_images(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(app, ["report", str(run_folder), "--out", str(out), "--title", "A & B"])
    assert result.exit_code == 0, result.output
    page = out.read_text(encoding="utf-8")
    assert "<title>A &amp; B</title>" in page and "page_images/" in page
    assert list((out.parent / "page_images").glob("*.svg"))
    assert 'class="missing">Image not available' not in page
    assert str(out) in result.stdout


def test_share_writes_one_file_without_images(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", str(run_folder), "--out", str(out), "--share"])
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert "<img" not in out.read_text(encoding="utf-8")


def test_share_is_for_pages(run_folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(run_folder), "--share", "--format", "csv"])
    assert result.exit_code == 2
    assert "--share is for html" in result.stderr


def test_two_runs_are_compared_on_their_shared_samples(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", str(run_folder), str(run_folder), "--out", str(out)])
    assert result.exit_code == 0, result.output
    page = out.read_text(encoding="utf-8")
    assert "“mockllm/model (run 2)” minus “mockllm/model (run 1)”" in page
    assert "on the 20 samples of both runs" in page


def test_csv_holds_every_headline_figure(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.csv"
    result = CliRunner().invoke(app, ["report", str(run_folder), "--out", str(out), "--format", "csv"])
    assert result.exit_code == 0, result.output
    rows = {row["figure"]: row for row in csv.DictReader(out.read_text(encoding="utf-8").splitlines())}
    assert (rows["ssu"]["value"], rows["ssu"]["n"]) == ("1.0", "4")
    assert (rows["twin_accuracy"]["value"], rows["twin_accuracy"]["n"]) == ("", "0")


def test_markdown_is_written_where_asked(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.md"
    assert CliRunner().invoke(app, ["report", str(run_folder), "--out", str(out), "--format", "md"]).exit_code == 0
    assert "| mockllm/model | holisafe | 1 | 20 |" in out.read_text(encoding="utf-8")


def test_a_missing_run_is_named_and_nothing_is_written(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["report", str(run_folder), str(tmp_path / "nowhere"), "--out", str(out)])
    assert result.exit_code == 2
    assert "no run at" in result.stderr and "nowhere" in result.stderr
    assert not out.exists()


def test_a_place_that_cannot_be_written_is_named(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    result = CliRunner().invoke(app, ["report", str(run_folder), "--out", str(tmp_path / "file" / "page.html")])
    assert result.exit_code == 2
    assert "cannot write" in result.stderr and "page.html" in result.stderr


def test_a_folder_is_no_file_to_write(run_folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(run_folder), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "is a folder" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["empty", "not finished", "not json", "no log"])
def test_what_is_no_run_is_named_in_one_line(run_folder: Path, tmp_path: Path, broken: str) -> None:
    place = tmp_path / "run"
    place.mkdir()
    record = json.loads((run_folder / "run.json").read_text(encoding="utf-8"))
    contents = {
        "not finished": json.dumps({**record, "state": "running"}),
        "not json": "{",
        "no log": json.dumps({**record, "log": "logs/gone.eval"}),
    }
    if broken in contents:
        (place / "run.json").write_text(contents[broken], encoding="utf-8")
    result = CliRunner().invoke(app, ["report", str(place), "--out", str(tmp_path / "page.html")])
    assert result.exit_code == 2
    assert str(place) in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_report_that_fails_leaves_the_old_one_as_it_was(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    out.write_text("the old one", encoding="utf-8")
    result = CliRunner().invoke(app, ["report", str(run_folder), str(tmp_path / "gone"), "--out", str(out)])
    assert result.exit_code == 2
    assert out.read_text(encoding="utf-8") == "the old one"
