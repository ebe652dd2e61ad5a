"""Epochs of one run are one row, with the spread over samples and that between epochs."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe.errors import RunError
from holisafe.metrics import summarise_repeats
from holisafe.records import Run
from holisafe.report import pair_runs, write_csv, write_markdown, write_report
from holisafe.report._caveats import caveats_of
from holisafe.report._gallery import collect, count_twins
from holisafe.report._leaderboard import leaderboard
from holisafe.report._pairs import pairs
from holisafe.report._table import judge_rows
from report_runs import ANSWER, REFUSAL, make_run


def epoch(number: int, model: str = "sampled", **settings: object) -> Run:
    """A run whose refusals fall on other samples in each epoch."""
    said = {"model": model, "temperature": 0.7, "epoch": number, **settings}
    return make_run(
        model, answer=lambda at, _: REFUSAL if (at * number) % 4 == number % 4 else ANSWER, settings=said, id=number
    )


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    """Three epochs of one model, not in order, and one run of another."""
    return [epoch(2), epoch(1), make_run("other"), epoch(3)]


def test_epochs_are_one_row_with_both_kinds_of_spread(runs: list[Run]) -> None:
    sampled, other = judge_rows(runs)
    assert [sampled.letter, other.letter] == ["A", "B"] and [len(sampled.epochs), len(other.epochs)] == [3, 1]
    ordered = [runs[1], runs[0], runs[3]]
    wanted = summarise_repeats(runs[1].samples, [each.judgements["refusal"] for each in ordered])
    assert sampled.summaries["refusal"] == wanted.summary and sampled.between["refusal"] == wanted.between
    assert (wanted.between["rr"] or 0) > 0
    assert [len(group.rows) for group in leaderboard([sampled, other])] == [2, 2]
    assert sum(count.total for count in count_twins([sampled]) if count.judge == "refusal") == 3 * 6
    assert all(len(entry.answers) == 4 for entry in collect([sampled, other], None))


def test_the_page_says_what_is_of_which_epoch(runs: list[Run], tmp_path: Path) -> None:
    page = write_report(runs, tmp_path / "report.html").read_text()
    assert "3 epochs</span>" in page and "± " in page and "standard deviation between epochs" in page
    assert '<span class="epoch">epoch 2</span>' in page and "epoch 3: id" in page
    assert "2 runs" not in page and page.count('id="run-') == 2


def test_differences_pair_a_run_with_every_epoch(runs: list[Run]) -> None:
    (one, _) = pairs(judge_rows(runs))
    assert one.comparison is not None and one.comparison.differences["rr"] is not None
    twice, thrice = [epoch(at, "twice") for at in (1, 2)], [epoch(at, "thrice") for at in (1, 2, 3)]
    (unpaired, _) = pairs(judge_rows([*twice, *thrice]))
    assert "2 runs cannot be paired with 3" in unpaired.why_not


def test_what_is_no_further_epoch_stands_alone(runs: list[Run]) -> None:
    shorter = epoch(2)
    kept = {judge: found[:9] for judge, found in shorter.judgements.items()}
    shorter = replace(shorter, samples=shorter.samples[:9], responses=shorter.responses[:9], judgements=kept)
    for others in ([epoch(1), epoch(1)], [epoch(1), shorter], [epoch(1), epoch(2, temperature=1.0)]):
        assert [len(row.epochs) for row in judge_rows(others)] == [1, 1]


def test_a_limit_of_one_epoch_names_it() -> None:
    broken = epoch(2)
    broken = replace(broken, provenance={**broken.provenance, "state": "running"})
    (row,) = judge_rows([epoch(1), broken])
    assert [sentence[:20] for sentence in caveats_of(row)] == ["Epoch 2: Incomplete:"]


def test_judges_that_agree_are_a_matrix_of_all_epochs(runs: list[Run], tmp_path: Path) -> None:
    page = write_report(runs, tmp_path / "report.html").read_text()
    matrix = page.partition('<table class="heat matrix">')[2].partition("</table>")[0]
    assert matrix.count("<tr>") == 3 and matrix.count("the same judge") == 2
    assert matrix.count("n = 90") == 2  # three epochs of thirty answers


def test_csv_and_markdown_have_the_row_of_the_page(runs: list[Run], tmp_path: Path) -> None:
    (sampled, _) = judge_rows(runs)
    with write_csv(runs, tmp_path / "r.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["judge"], row["figure"]) == ("refusal", "rr")]
    shown = {row["run"]: (row["epochs"], row["between"]) for row in rows}
    assert shown["sampled"] == ("3", str(sampled.between["refusal"]["rr"])) and shown["other"] == ("1", "")
    rate = sampled.summaries["refusal"].rr
    assert rate is not None and [row["value"] for row in rows if row["run"] == "sampled"] == [str(rate.value)]
    text = write_markdown(runs, tmp_path / "r.md").read_text(encoding="utf-8")
    assert [line[:28] for line in text.splitlines() if line.startswith("| sampled | refusal")] == [
        "| sampled | refusal | 3 | 30"
    ]
    assert f"] ± {100 * (sampled.between['refusal']['rr'] or 0):.1f} |" in text and "±: standard deviation" in text


def test_pairs_count_the_epochs_and_one_run_alone_is_refused(runs: list[Run]) -> None:
    pair = next(pair for pair in pair_runs(runs) if pair.judge == "refusal")
    assert (pair.first, pair.second, pair.epochs, pair.shared) == ("sampled", "other", (3, 1), 30)
    with pytest.raises(RunError, match=r"'sampled' \(2 epochs\), has nothing to be compared with"):
        pair_runs([epoch(1), epoch(2)])
