"""Two runs side by side: both figures, their difference, what the guard saw, and both answers."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from holisafe.blind import BlindReport, beside, blind_scores
from holisafe.cli._two_runs import compare_runs, print_two_runs
from holisafe.guard import guard_findings
from holisafe.metrics import summarise
from holisafe.records import Run, Sample
from report_runs import ANSWER, REFUSAL, guarded, make_run


def with_figures(run: Run) -> Run:
    """The run with what `run.json` says of it."""
    figures = {judge: summarise(run.samples, found).to_json() for judge, found in run.judgements.items()}
    findings = guard_findings(run)
    guard = {} if findings is None else {"guard_findings": findings.to_json()}
    return replace(run, provenance={**run.provenance, "summaries": figures, **guard})


def cautious(_: int, sample: Sample) -> str:
    return ANSWER if sample.combination.is_safe else REFUSAL


def blind_of(run: Run) -> BlindReport:
    scores = blind_scores(run.samples)
    results = tuple(beside(scores, judgements) for judgements in run.judgements.values())
    return BlindReport("drawn", "test", len(run.samples), scores.training, scores.notes, results)


@pytest.fixture(scope="module")
def shown() -> str:
    before = with_figures(make_run("before", answer=lambda *_: ANSWER))
    after = with_figures(guarded(make_run("after", answer=cautious), joint=False))
    console = Console(file=io.StringIO(), width=80)
    blind = blind_of(after)
    print_two_runs(before, after, compare_runs(before, after), blind=blind, console=console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def rows(shown: str, name: str) -> list[list[str]]:
    """Rows of the tables that have both runs."""
    cells = [
        [cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if f"│ {name} " in line
    ]
    return [row for row in cells if len(row) == 5]


def test_each_judge_has_a_row_for_each_figure_with_both_rates_and_the_difference(shown: str) -> None:
    found = rows(shown, "ASR SSU")
    assert len(found) == 2
    for name, before, after, difference, count in found:
        assert (name, count) == ("ASR SSU", "6°")
        assert before.startswith("100.0 (") and before.endswith("–100)")
        assert after.startswith("0.0 (0–")
        assert difference.startswith("-100.0 (-100 to -")
    assert "° Fewer than 20 samples" in shown


def test_what_stays_as_it_was_is_no_difference(shown: str) -> None:
    assert {row[3].partition(" ")[0] for row in rows(shown, "RR")} == {"+0.0"}


def test_blind_baselines_stand_beside_the_second_run(shown: str) -> None:
    (row,) = [line for line in shown.splitlines() if line.startswith("│ ASR SSU") and line.count("│") == 4]
    assert row.split("│")[2].strip().startswith("0.0° (0–")
    assert shown.count("Blind baselines at RR up to 0.0 %, judge holisafe") == 1


def test_no_line_of_a_table_is_wider_than_the_terminal(shown: str) -> None:
    assert all(len(line) <= 80 for line in shown.splitlines() if line[:1] in ("│", "┃", "┏", "└"))
    assert "…" not in "".join(line for line in shown.splitlines() if line[:1] == "│")


def test_image_verdicts_stand_beside_both_answers(shown: str) -> None:
    block = shown.split("\nUSU  ")[1].split("\n\n")[0]
    assert "shows: " in block and re.search(r"guard: (not )?flagged, P\(unsafe\) [^;]* threshold 50.0 %: ", block)
    assert f"before  answered: {ANSWER}" in block
    assert f"after   refused: {REFUSAL}" in block


def test_the_guard_is_summed_up_with_its_intervals(shown: str) -> None:
    first, second = shown.split("Image verdicts of after on 30 images: ")[1].splitlines()[:2]
    assert first.startswith("right label of the twenty for ") and first.count("–") == 1
    assert second.startswith("flagged: ") and second.count("–") == 2


def test_without_a_guard_nothing_is_said_of_one() -> None:
    run = with_figures(make_run("alone"))
    console = Console(file=io.StringIO(), width=80)
    print_two_runs(run, run, compare_runs(run, run), console=console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "guard" not in text and "Image verdicts" not in text


def test_what_answers_and_questions_hide_is_written_out_on_one_line() -> None:
    run = with_figures(make_run("alone", answer=lambda *_: "one\n[bold]two[/bold]\x1b[31m‮"))
    console = Console(file=io.StringIO(), width=80)
    print_two_runs(run, run, compare_runs(run, run), console=console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert "one [bold]two[/bold][U+001B][31m[U+202E]" in text
    assert "\x1b" not in text
