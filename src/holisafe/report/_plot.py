"""Where the dots and whiskers of the interval plot stand; the template draws them as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holisafe.report._table import MEASURES, JudgedRun, headline

WIDTH = 360
LEFT = 92
RIGHT = 14
TOP = 8
BOTTOM = 24
ROW = 22
NEXT_RUN = 10
MARKS = ("circle", "square", "diamond", "triangle", "ring", "cross")
"""One mark per run, told apart by shape and not by colour."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One figure of one run: a mark at `x`, a whisker from `low` to `high`; all in pixels of the drawing."""

    mark: str
    x: float
    low: float
    high: float
    y: float


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: its name, the height it stands at, and the dots of the runs that have it."""

    name: str
    y: float
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True)
class Plot:
    """The headline figures of all runs under one judge."""

    judge: str
    width: int
    height: float
    left: int
    right: float
    foot: float
    ticks: tuple[tuple[float, int], ...]
    rows: tuple[Row, ...]
    legend: tuple[tuple[str, str], ...]


def plot(judge: str, runs: Sequence[JudgedRun]) -> Plot:
    """Lay out the figures of the runs that `judge` has judged, up to one per mark."""
    shown = [run for run in runs if judge in run.summaries][: len(MARKS)]
    step = ROW + NEXT_RUN * (len(shown) - 1)
    figures = [headline(run.summaries[judge]) for run in shown]
    rows = []
    for place, measure in enumerate(MEASURES):
        top = TOP + place * step
        dots = []
        for index, found in enumerate(figures):
            figure = found[measure.key]
            if figure is not None:
                y = top + ROW / 2 + index * NEXT_RUN
                dots.append(Dot(MARKS[index], _x(figure.value), _x(figure.low), _x(figure.high), y))
        rows.append(Row(measure.short, top + step / 2, tuple(dots)))
    foot = TOP + step * len(MEASURES)
    return Plot(
        judge=judge,
        width=WIDTH,
        height=foot + BOTTOM,
        left=LEFT,
        right=WIDTH - RIGHT,
        foot=foot,
        ticks=tuple((_x(share / 100), share) for share in (0, 25, 50, 75, 100)),
        rows=tuple(rows),
        legend=tuple((MARKS[index], run.name) for index, run in enumerate(shown)),
    )


def _x(rate: float) -> float:
    return round(LEFT + rate * (WIDTH - LEFT - RIGHT), 2)
