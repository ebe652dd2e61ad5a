"""`holisafe demo` measures real models before and after safety tuning, and leaves their runs and a report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from holisafe.bench import read_run
from holisafe.checkpoints.tuned import find_tuned
from holisafe.cli import app
from holisafe.records import Run
from holisafe.taxonomy import Combination

SMALL = ("--samples", "6", "--max-new-tokens", "2")


def asked(run: Run) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a run was asked: id, question and image contents."""
    return [(each.id, each.query, tuple(image.digest for image in each.images)) for each in run.samples]


def demo(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["demo", *SMALL, *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def trained(folder: Path) -> Result:
    """The demo that tunes, for as few steps as hold every combination and category."""
    return demo("--train", "--steps", "5", "--out", folder, "--json")


def test_both_models_are_asked_the_same_of_every_combination_and_judged_by_both_judges(
    trained: Result, folder: Path
) -> None:
    assert trained.exit_code == 0, trained.output
    before, after = read_run(folder / "pocket"), read_run(folder / "pocket-tuned")
    assert asked(before) == asked(after)
    assert {sample.combination for sample in before.samples} == set(Combination)
    for run in (before, after):
        assert run.judgements.keys() == {"holisafe", "refusal"}
        assert all(response.error is None for response in run.responses)


def test_the_tuned_models_guard_judges_every_image(trained: Result, folder: Path) -> None:
    assert all(response.verdict.images for response in read_run(folder / "pocket-tuned").responses)


def test_the_differences_are_those_of_the_two_runs(trained: Result) -> None:
    figures: dict[str, Any] = json.loads(trained.stdout)
    assert figures["differences"].keys() == {"holisafe", "refusal"}
    assert [result["judge"] for result in figures["blind"]["results"]] == ["holisafe", "refusal"]
    for judge, differences in figures["differences"].items():
        before, after = figures["before"]["judges"][judge], figures["after"]["judges"][judge]
        for name in ("rr", "ssu", "suu"):
            expected = after[name]["value"] - before[name]["value"]
            assert differences[name]["value"] == pytest.approx(expected), (judge, name)


def test_one_report_has_both(trained: Result, folder: Path) -> None:
    figures = json.loads(trained.stdout)
    assert figures["report"] == str(folder / "report.html")
    page = Path(figures["report"]).read_text(encoding="utf-8")
    assert "pocket-tuned" in page and 'id="differences"' in page and 'id="guard"' in page


def test_the_progress_says_how_small_it_is_and_how_far(trained: Result) -> None:
    assert "2 new tokens, fewer than the protocol's 512" in trained.stderr
    assert "briefly: 5 steps of 8 samples" in trained.stderr
    assert "step 5/5, " in trained.stderr


def test_a_second_call_reads_all_back_and_shows_both_side_by_side(trained: Result, folder: Path) -> None:
    tuned = find_tuned(folder / "tuning")
    assert tuned is not None
    kept = [folder / name / "responses.jsonl" for name in ("pocket", "pocket-tuned")] + [tuned.folder / "tuned.json"]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept]
    again = demo("--train", "--steps", "5", "--out", folder)
    assert again.exit_code == 0, again.output
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept] == before
    assert "already tuned" in again.stderr
    heads = [line for line in again.stdout.splitlines() if "pocket-tuned" in line and "difference" in line]
    assert len(heads) == 2 and all("pocket " in line for line in heads)
    for kind in Combination:
        assert f"\n{kind.value}  " in again.stdout
    assert len(re.findall(r"guard: (?:not )?flagged, P\(unsafe\)", again.stdout)) == 5
    assert "pocket-tuned is tuned briefly" in again.stdout
    assert f"The report is in {folder / 'report.html'}" in again.stdout


@pytest.mark.parametrize("options", [("--train", "--steps", "4"), ("--steps", "100")])
def test_steps_that_cannot_be_are_refused_before_anything_is_measured(options: tuple[str, ...], tmp_path: Path) -> None:
    found = demo(*options, "--out", tmp_path / "out")
    assert found.exit_code == 2
    assert "steps" in found.stderr
    assert not (tmp_path / "out").exists()


def test_the_shipped_model_is_compared_with_pocket(tmp_path: Path) -> None:
    found = demo("--out", tmp_path)
    assert found.exit_code == 0, found.output
    before, after = read_run(tmp_path / "pocket"), read_run(tmp_path / "pocket-safe")
    assert asked(before) == asked(after)
    assert all(response.verdict.images for response in after.responses)
    assert "Image verdicts of pocket-safe" in found.stdout
    assert (tmp_path / "report.html").is_file()
