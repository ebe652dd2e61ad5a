"""A benchmark's own figures, run beside run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holisafe.benchmarks import BenchmarkFigure
from holisafe.metrics import Figure
from holisafe.report._provenance import mapping
from holisafe.report._table import JudgedRun, each_epoch
from holisafe.report.text import plain

_Column = tuple[JudgedRun, int]


@dataclass(frozen=True, slots=True)
class OwnRow:
    """One figure: its name, whether less of it is better, and what it is in each column; None where it is not told."""

    label: str
    lower_is_better: bool
    figures: tuple[Figure | None, ...]


@dataclass(frozen=True, slots=True)
class OwnTable:
    """The figures of one benchmark in one setting under one judge: a column for each run, or epoch of one.

    Attributes:
        title: The benchmark and the setting.
        judge: The judge.
        columns: Runs, each with the number of its epoch; 0 where it has one.
        rows: The figures.
    """

    title: str
    judge: str
    columns: tuple[tuple[JudgedRun, int], ...]
    rows: tuple[OwnRow, ...]


def own_tables(runs: Sequence[JudgedRun]) -> list[OwnTable]:
    """A table for each benchmark, setting and judge that runs have recorded figures of.

    Raises:
        DataError: What a run recorded is not figures of a benchmark.
    """
    found: dict[tuple[str, str], list[tuple[_Column, list[BenchmarkFigure]]]] = {}
    for judged, run, epoch in each_epoch(runs):
        record = mapping(run.provenance.get("benchmark"))
        column = (judged, epoch)
        setting = f", setting {record['setting']}" if record.get("setting") else ""
        for judge, values in mapping(record.get("judges")).items():
            figures = [BenchmarkFigure.from_json(each) for each in (values if isinstance(values, list) else ())]
            if judge in judged.summaries and any(each.figure is not None for each in figures):
                key = (plain(f"{record.get('title')}{setting}"), judge)
                found.setdefault(key, []).append((column, figures))
    return [_table(title, judge, asked) for (title, judge), asked in found.items()]


def _table(title: str, judge: str, asked: Sequence[tuple[_Column, Sequence[BenchmarkFigure]]]) -> OwnTable:
    kinds = {each.name: each for _, figures in asked for each in figures}
    columns = [{each.name: each.figure for each in figures} for _, figures in asked]
    rows = (
        OwnRow(plain(kind.label, 80), kind.lower_is_better, tuple(column.get(name) for column in columns))
        for name, kind in kinds.items()
    )
    shown = tuple(row for row in rows if any(figure is not None for figure in row.figures))
    return OwnTable(title, judge, tuple(column for column, _ in asked), shown)
