"""The rows of blind baselines in a report."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe.blind import LEGEND, MARK
from holisafe.records import Run, Sample
from holisafe.report import write_csv, write_markdown, write_report
from holisafe.taxonomy import Combination
from report_runs import ANSWER, REFUSAL, make_run, make_samples

ROWS = ("question alone", "image alone (pixels)")


def by_question(_: int, sample: Sample) -> str:
    return REFUSAL if "question" in sample.query else ANSWER


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run("mine", answer=by_question)


def test_each_run_and_judge_has_a_row_for_each_baseline_and_marks(run: Run, tmp_path: Path) -> None:
    lines = write_markdown([run], tmp_path / "r.md").read_text("utf-8").splitlines()
    for judge in run.judgements:
        own, *rest = [line for line in lines if f"| {judge} |" in line and line.startswith("| mine")][:3]
        assert [line.split(" | ")[0] for line in rest] == [f"| mine: {name}" for name in ROWS]
        assert MARK in own
        assert all(MARK not in line for line in rest)
    assert any(line == LEGEND for line in lines)
    assert any("5-fold cross-validation by image" in line for line in lines)


def test_the_page_marks_what_is_reached_and_has_the_rows(run: Run, tmp_path: Path) -> None:
    page = write_report([run], tmp_path / "r.html").read_text("utf-8")
    assert page.count('<tr class="blind"') == 2 * len(run.judgements)
    assert f'title="reached by a blind baseline">{MARK}</sup>' in page
    assert LEGEND in page


def test_csv_has_the_figures_of_each_baseline(run: Run, tmp_path: Path) -> None:
    with write_csv([run], tmp_path / "r.csv").open(encoding="utf-8") as file:
        found = {(row["run"], row["judge"], row["figure"]): row["value"] for row in csv.DictReader(file)}
    assert float(found["mine", "refusal", "rr"]) >= float(found["mine: question alone", "refusal", "rr"])
    assert ("mine: image alone (pixels)", "refusal", "usu") in found


def test_without_scikit_learn_a_report_says_what_is_left_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "sklearn" or name.startswith("holisafe.blind._")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    text = write_markdown([run], tmp_path / "r.md").read_text("utf-8")
    assert "Blind baselines left out: holisafe.blind.beside needs 'sklearn', which is not installed; run: pip" in text
    assert "mine: question alone" not in text


def test_without_harmless_samples_a_report_says_why_there_are_none(tmp_path: Path) -> None:
    samples = tuple(each for each in make_samples() if each.combination is not Combination.SSS)
    text = write_markdown([make_run(samples=samples)], tmp_path / "r.md").read_text("utf-8")
    assert "Blind baselines left out: blind baselines: 0 samples are to be answered" in text


def test_two_runs_of_one_data_set_have_their_notes_once(run: Run, tmp_path: Path) -> None:
    other = replace(make_run("other", answer=lambda *_: ANSWER), samples=run.samples)
    text = write_markdown([run, other], tmp_path / "r.md").read_text("utf-8")
    assert text.count("5-fold cross-validation by image") == 1
    assert "other: question alone" in text
