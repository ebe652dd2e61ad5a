"""The answer first: every run under every judge in one row, with its best figures marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from holisafe.metrics import Figure, Summary, asr_name
from holisafe.report._same import same_sample
from holisafe.report._sections import facts
from holisafe.report._table import JudgedRun
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination

COLUMNS = ("mASR macro", "RR", "Worst combination", "Twin accuracy")
"""Heads of the figures of a row; lower is better in all but the last."""


@dataclass(frozen=True, slots=True)
class LeaderCell:
    """One figure of a row.

    Attributes:
        name: Its name, as in `HEADLINE`; of several combinations, that of the first.
        figure: The figure; None where there are no samples for it.
        words: What it is, where the column does not say: the combinations, or another mean.
        is_best: Whether no other row of its group has a better one; False in a group of fewer than two.
    """

    name: str
    figure: Figure | None
    words: str = ""
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class LeaderRow:
    """One run under one judge.

    Attributes:
        judged: The run.
        cells: A cell for each of `COLUMNS`; none where the figures are withheld.
        withheld: Why they are withheld; empty where they are not.
        unsafe: Samples to be refused.
        harmless: Samples to be answered.
    """

    judged: JudgedRun
    cells: tuple[LeaderCell, ...]
    withheld: str
    unsafe: int
    harmless: int


@dataclass(frozen=True, slots=True)
class LeaderGroup:
    """Rows that can be compared: one judge, the same samples. Lowest mean of mASR and RR first, withheld last."""

    judge: str
    data: str
    samples: int
    rows: tuple[LeaderRow, ...]


def groups_of(runs: Sequence[JudgedRun]) -> list[tuple[str, list[JudgedRun]]]:
    """Judge and runs on the same samples that it judged, in the order of the runs."""
    by_data: dict[frozenset[object], list[JudgedRun]] = {}
    for judged in runs:
        by_data.setdefault(frozenset(map(same_sample, judged.run.samples)), []).append(judged)
    judges = dict.fromkeys(judge for judged in runs for judge in judged.summaries)
    return [
        (judge, found)
        for judge in judges
        for group in by_data.values()
        if (found := [judged for judged in group if judge in judged.summaries])
    ]


def leaderboard(runs: Sequence[JudgedRun]) -> list[LeaderGroup]:
    """A group of rows for each judge and each set of samples."""
    found = []
    for judge, group in groups_of(runs):
        rows = _with_best([_row(judged, judge) for judged in group])
        samples = len(group[0].run.samples)
        found.append(LeaderGroup(judge, data_words(group[0]), samples, tuple(sorted(rows, key=_place))))
    return found


def data_words(judged: JudgedRun) -> str:
    """The data of a run, with the split where it has one."""
    about = facts(judged.run)
    return f"{about['data']}, split {about['split']}" if about["split"] else str(about["data"])


def harm(summary: Summary) -> tuple[Figure | None, str]:
    """The mASR macro and no words; where a combination has no samples, mASR pooled, named."""
    if summary.masr_macro is not None or summary.masr_pooled is None:
        return summary.masr_macro, ""
    return summary.masr_pooled, "pooled"


def worst_combination(summary: Summary) -> tuple[tuple[Combination, ...], Figure] | None:
    """The unsafe combinations with the highest ASR, and that; the higher lower end decides between equal rates."""
    found = [(each, figure) for each in UNSAFE_COMBINATIONS if (figure := summary.asr[each]) is not None]
    if not found:
        return None
    highest = max((figure for _, figure in found), key=lambda figure: (figure.value, figure.low))
    return tuple(each for each, figure in found if figure == highest), highest


def _names(combinations: Sequence[Combination]) -> str:
    if len(combinations) == len(UNSAFE_COMBINATIONS):
        return "all four"
    return ", ".join(each.value for each in combinations)


def _row(judged: JudgedRun, judge: str) -> LeaderRow:
    expected = [sample.is_safe for sample in judged.run.samples if sample.expected is not None]
    counts = (expected.count(False), expected.count(True))
    if judge in judged.withheld:
        return LeaderRow(judged, (), judged.withheld[judge], *counts)
    return LeaderRow(judged, cells_of(judged.summaries[judge]), "", *counts)


def cells_of(summary: Summary) -> tuple[LeaderCell, ...]:
    """A cell for each of `COLUMNS`, none of them the best."""
    risk, kind = harm(summary)
    worst = worst_combination(summary)
    return (
        LeaderCell("masr_pooled" if kind else "masr_macro", risk, kind),
        LeaderCell("rr", summary.rr),
        LeaderCell(asr_name(worst[0][0]), worst[1], _names(worst[0])) if worst else LeaderCell("", None),
        LeaderCell("twin_accuracy", summary.twin_accuracy),
    )


def _with_best(rows: Sequence[LeaderRow]) -> list[LeaderRow]:
    """The rows with the best cells of each column marked."""
    shown = [row.cells for row in rows if row.cells]
    best: list[float | None] = []
    for at in range(len(COLUMNS)):
        values = [_rounded(cells[at].figure) for cells in shown]
        known = [value for value in values if value is not None]
        choose = max if COLUMNS[at] == "Twin accuracy" else min
        best.append(choose(known) if len(known) > 1 else None)
    return [
        replace(
            row,
            cells=tuple(
                replace(cell, is_best=wanted is not None and _rounded(cell.figure) == wanted)
                for cell, wanted in zip(row.cells, best, strict=False)
            ),
        )
        for row in rows
    ]


def _rounded(figure: Figure | None) -> float | None:
    return None if figure is None else round(figure.value, 3)


def _place(row: LeaderRow) -> tuple[int, float]:
    """By the mean of mASR and RR, which is 50 % for refusing everything and for refusing nothing."""
    known = [cell.figure.value for cell in row.cells[:2] if cell.figure is not None]
    return 2 - len(known), sum(known)
