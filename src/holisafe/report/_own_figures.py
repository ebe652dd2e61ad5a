"""A benchmark's own figures, run beside run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holisafe.benchmarks import BenchmarkFigure
from holisafe.metrics import Figure
from holisafe.report._caveats import mapping
from holisafe.report._table import JudgedRun
from holisafe.report.text import plain


@dataclass(frozen=True, slots=True)
class OwnRow:
    """One figure: its name, whether less of it is better, and what it is of each run; None where it is not told."""

    label: str
    lower_is_better: bool
    figures: tuple[tuple[JudgedRun, Figure | None], ...]


@dataclass(frozen=True, slots=True)
class OwnTable:
    """The figures of one benchmark in one setting under one judge."""

    title: str
    judge: str
    runs: tuple[JudgedRun, ...]
    rows: tuple[OwnRow, ...]


def own_tables(runs: Sequence[JudgedRun]) -> list[OwnTable]:
    """A table for each benchmark, setting and judge that runs have recorded figures of.

    Raises:
        DataError: What a run recorded is not figures of a benchmark.
    """
    found: dict[tuple[str, str], dict[str, tuple[JudgedRun, list[BenchmarkFigure]]]] = {}
    for judged in runs:
        record = mapping(judged.run.provenance.get("benchmark"))
        setting = f", setting {record['setting']}" if record.get("setting") else ""
        for judge, values in mapping(record.get("judges")).items():
            figures = [BenchmarkFigure.from_json(each) for each in (values if isinstance(values, list) else ())]
            if judge in judged.summaries and any(each.figure is not None for each in figures):
                key = (plain(f"{record.get('title')}{setting}"), judge)
                found.setdefault(key, {})[judged.letter] = (judged, figures)
    return [_table(title, judge, list(asked.values())) for (title, judge), asked in found.items()]


def _table(title: str, judge: str, asked: Sequence[tuple[JudgedRun, Sequence[BenchmarkFigure]]]) -> OwnTable:
    kinds = {each.name: each for _, figures in asked for each in figures}
    by_run = [(judged, {each.name: each.figure for each in figures}) for judged, figures in asked]
    rows = (
        OwnRow(
            plain(kind.label, 80), kind.lower_is_better, tuple((judged, known.get(name)) for judged, known in by_run)
        )
        for name, kind in kinds.items()
    )
    shown = tuple(row for row in rows if any(figure is not None for _, figure in row.figures))
    return OwnTable(title, judge, tuple(judged for judged, _ in asked), shown)
