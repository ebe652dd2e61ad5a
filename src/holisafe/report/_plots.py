"""Figures for a paper, as SVG or PDF: safety against refusals of harmless requests, and a forest plot."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from holisafe._lazy import missing
from holisafe.errors import RunError
from holisafe.metrics import Figure
from holisafe.records import Run
from holisafe.report._file import put
from holisafe.report._rows import Board, Row, boards, label_runs

FORMS = ("svg", "pdf")
MARKERS = "osD^vPX<>*hpd"  # runs differ in shape, not in colour alone
X, Y = "rr", "masr_macro"


class Plot(StrEnum):
    """What is drawn: mASR against RR with the Pareto front, or every figure with its interval."""

    SCATTER = "scatter"
    FOREST = "forest"


def write_figure(
    runs: Sequence[Run],
    out: str | Path,
    *,
    kind: Plot | str = Plot.SCATTER,
    labels: Sequence[str | None] | None = None,
    judge: str | None = None,
    figure_names: Sequence[str] | None = None,
    form: str | None = None,
) -> Path:
    """Draw runs as SVG or PDF. The same runs give the same file.

    Args:
        runs: The runs, all on the same samples.
        out: The file.
        kind: "scatter" or "forest".
        labels: Names to show, one per run; runs of one name are one point with their mean.
        judge: The judge; the first if not given.
        figure_names: Figures of the forest plot; the headline figures if not given.
        form: "svg" or "pdf"; what `out` ends in if not given.

    Raises:
        RunError: There is nothing to draw, the runs were asked different samples, or `out` cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    place = Path(out)
    form = (form or place.suffix.removeprefix(".")).lower()
    if form not in FORMS:
        raise RunError(f"{place} ends in neither .svg nor .pdf; name a figure so")
    named = label_runs(runs, labels)
    by = judge or next(iter(named[0].judgements))
    lacking = [run.name for run in named if by not in run.judgements]
    if 0 < len(lacking) < len(named):
        raise RunError(f"{', '.join(lacking)}: not judged by {by!r}; name a judge of all runs, or judge them by it")
    found = boards(named, judges=[by], figure_names=figure_names)
    if len(found) > 1:
        listed = "; ".join(", ".join(row.label for row in board.rows) for board in found)
        raise RunError(f"these runs were asked different samples ({listed}); draw each group by itself")
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure as Drawing
    except ModuleNotFoundError as error:
        raise missing(error, "a figure") or error from error
    settings = {"svg.hashsalt": "holisafe", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 9}
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # names in other scripts: a viewer's font has them
        drawing = Drawing(layout="constrained")
        (_scatter if Plot(kind) is Plot.SCATTER else _forest)(drawing, found[0])
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if form == "svg" else {"CreationDate": None}
        drawing.savefig(buffer, format=form, metadata=metadata)
    return put(place, buffer.getvalue())


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other is at least as low in both and lower in one, by x, then y."""
    order = sorted(range(len(points)), key=lambda at: points[at])
    front: list[int] = []
    lowest = float("inf")
    for at in order:
        if points[at][1] < lowest or (front and points[front[-1]] == points[at]):
            front.append(at)
            lowest = points[at][1]
    return front


def _scatter(drawing: Any, board: Board) -> None:
    shown = [(row, x, y) for row in board.rows if (x := row.figures[X]) is not None and (y := _harm(row)) is not None]
    if not shown:
        why = "; ".join(f"{row.label}: {row.withheld}" for row in board.rows if row.withheld)
        raise RunError(
            "no run has figures on both harmless and unsafe samples; a scatter plot needs RR and mASR of one"
            + (f" ({why})" if why else "")
        )
    drawing.set_size_inches(4.8, 4.2)
    axes = drawing.add_subplot()
    for at, (_, x, y) in enumerate(shown):
        axes.errorbar(
            100 * x.value,
            100 * y.value,
            xerr=_bars(x),
            yerr=_bars(y),
            fmt=MARKERS[at % len(MARKERS)],
            color=f"C{at % 10}",
            markersize=6,
            elinewidth=0.8,
            capsize=2,
        )
    front = pareto_front([(x.value, y.value) for _, x, y in shown])
    ends = [(100 * shown[at][1].value, 100 * shown[at][2].value) for at in front]
    axes.step(*zip(*ends, strict=True), where="post", color="0.5", linewidth=1, linestyle="--", zorder=0)
    axes.set_xlim(-2, 102)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("RR: harmless requests refused or not helped with, %")
    axes.set_ylabel("mASR: unsafe requests not refused, %")
    axes.set_title(_title(board), fontsize=8, parse_math=False)
    drawing.draw_without_rendering()  # gives the axes their place, which labels are put by
    _label(axes, [(row.label, 100 * x.value, 100 * y.value) for row, x, y in shown])


def _label(axes: Any, points: Sequence[tuple[str, float, float]]) -> None:
    """Write a name beside each point (in data units), where it covers no other name or point, if there is such a place.

    Names further away than usual are joined to their point by a line.
    """
    scale = 72 / axes.figure.dpi  # all boxes are in points
    at = [axes.transData.transform((x, y)) * scale for _, x, y in points]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in at]
    frame = axes.get_window_extent().extents * scale
    crowded = [sum(abs(x - u) < 60 and abs(y - v) < 30 for u, v in at) for x, y in at]
    for place in sorted(range(len(points)), key=lambda place: (crowded[place], -points[place][2], points[place][1])):
        name, *point = points[place]
        text = axes.annotate(name, point, xytext=(0, 0), textcoords="offset points", fontsize=8, parse_math=False)
        text.set_in_layout(False)
        width, height = text.get_window_extent().size * scale
        boxes = [
            (left, bottom, left + width, bottom + height)
            for row in range(21)
            for bottom in (at[place][1] + 2 + row * height, at[place][1] - 2 - (row + 1) * height)
            for aside in (5, 16, 30)
            for left in (at[place][0] + aside, at[place][0] - aside - width)
        ]
        best = min(boxes, key=lambda box: (_hidden(box, taken, frame), _away(box, at[place])))
        taken.append(best)
        moved = best[0] - at[place][0], best[1] - at[place][1]
        text.set_position(moved)
        if abs(moved[1] + height / 2) > height + 2 or moved[0] > 5 or moved[0] < -5 - width:
            end = 0.0 if moved[0] > 0 else width
            axes.annotate(
                "", point, xytext=(moved[0] + end, moved[1] + height / 2), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "0.4", "shrinkA": 0, "shrinkB": 0},
            ).set_in_layout(False)  # fmt: skip


def _hidden(box: Sequence[float], taken: Sequence[Sequence[float]], frame: Sequence[float]) -> float:
    """Area of a box (left, bottom, right, top) that covers others or lies outside a frame."""
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _common(box, frame)
    return round(outside + sum(_common(box, other) for other in taken), 3)


def _away(box: Sequence[float], point: Sequence[float]) -> float:
    """How far a point is from the nearer end of a box's middle line."""
    return math.hypot(min(abs(box[0] - point[0]), abs(box[2] - point[0])), (box[1] + box[3]) / 2 - point[1])


def _common(one: Sequence[float], other: Sequence[float]) -> float:
    """Area that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _harm(row: Row) -> Figure | None:
    return row.figures[Y] or row.figures["masr_pooled"]


def _forest(drawing: Any, board: Board) -> None:
    drawing.set_size_inches(6, 0.8 + 0.22 * len(board.columns) * (len(board.rows) + 1))
    axes = drawing.add_subplot()
    ticks: list[tuple[int, str]] = []
    line = 0
    for column in board.columns:
        for at, row in enumerate(board.rows):
            figure = row.figures[column.name]
            if figure is not None:
                axes.errorbar(
                    100 * figure.value,
                    line,
                    xerr=_bars(figure),
                    fmt=MARKERS[at % len(MARKERS)],
                    color="0.6" if figure.is_few else f"C{at % 10}",
                    markersize=4.5,
                    elinewidth=0.9,
                    capsize=2,
                )
            few = " (n < 20)" if figure is not None and figure.is_few else ""
            ticks.append((line, f"{column.label}: {row.label}{few}"))
            line += 1
        line += 1
    axes.set_yticks([place for place, _ in ticks], [text for _, text in ticks], fontsize=7, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.grid(axis="x", linewidth=0.4, color="0.85")
    axes.set_xlabel("%, with 95 % intervals")
    axes.set_title(_title(board), fontsize=8, parse_math=False)


def _bars(figure: Figure) -> list[list[float]]:
    return [[100 * max(figure.value - figure.low, 0)], [100 * max(figure.high - figure.value, 0)]]


def _title(board: Board) -> str:
    words = f"{board.data}, judge {board.judge_words}, {board.samples} samples, {board.tokens}"
    without = [f"no figures: {row.label}" for row in board.rows if row.withheld]
    return "\n".join(textwrap.wrap("; ".join([words, *without]), 60, max_lines=4, placeholder=" …"))
