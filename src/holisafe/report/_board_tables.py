"""The same tables as Markdown, and as a leaderboard in JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from holisafe._version import __version__
from holisafe.metrics import HOLM, TEST_NAMES, HeadlineFigure, degenerate
from holisafe.metrics.display import FEW_NOTE, few_mark
from holisafe.report._rows import Board, Row
from holisafe.report.text import cell

SIGNIFICANT = "\\*"
"""Stands behind a figure that differs from the chosen row."""


def markdown_tables(boards: Sequence[Board]) -> str:
    """One table for each board, with what its signs mean below it."""
    return "\n".join("\n".join(_markdown(board)) for board in boards)


def leaderboard(boards: Sequence[Board]) -> str:
    """Every board as JSON, rates in [0, 1]: docs/tables.md describes it."""
    record = {"holisafe": __version__, "tables": [_record(board) for board in boards]}
    return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def _markdown(board: Board) -> list[str]:
    lines = [
        f"**{cell(board.data)}**, judge {cell(board.judge_words)}, {board.samples} samples, {board.tokens}",
        "",
        "| model | " + " | ".join(figure.label for figure in board.columns) + " |",
        "|---|" + "--:|" * len(board.columns),
    ]
    for row in board.rows:
        name = cell(row.label) + (f" ({row.repeats.runs} runs)" if row.repeats.runs > 1 else "")
        lines.append(f"| {name} | " + " | ".join(_cell(board, row, figure) for figure in board.columns) + " |")
    lines += ["", "Rates in %, with 95 % intervals that allow for shared images; bold: best of a column."]
    if any(row.repeats.runs > 1 for row in board.rows):
        lines.append("±: standard deviation between runs of one model; the interval is of their mean.")
    if board.against is not None:
        lines.append(
            f"{SIGNIFICANT} differs from {cell(board.against)} with p < 0.05: {TEST_NAMES[board.test]}, corrected "
            f"after {HOLM} over {board.comparisons} comparisons."
        )
    lines += [FEW_NOTE, *map(cell, board.notes), ""]
    return lines


def _cell(board: Board, row: Row, column: HeadlineFigure) -> str:
    figure = row.figures[column.name]
    if figure is None:
        return "–"
    value = f"{100 * figure.value:.1f}"
    shown = f"**{value}**" if board.is_best(row, column) else value
    between = row.between(column.name)
    spread = f" ± {100 * between:.1f}" if between is not None else ""
    found = board.found.get((row.label, column.name))
    marks = few_mark(figure) + SIGNIFICANT * (found is not None and found.is_significant)
    return f"{shown}{spread}{marks} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _record(board: Board) -> dict[str, Any]:
    return {
        "data": board.data,
        "judge": board.judge_words,
        "samples": board.samples,
        "tokens": board.tokens,
        "against": board.against,
        "test": board.test.value if board.against is not None else None,
        "correction": HOLM if board.against is not None else None,
        "comparisons": board.comparisons,
        "notes": list(board.notes),
        "rows": [_row_record(board, row) for row in board.rows],
    }


def _row_record(board: Board, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, figure in row.figures.items():
        found[name] = figure.to_json() | {"between": row.between(name)} if figure else None
        against = board.found.get((row.label, name))
        if figure is not None and against is not None:
            found[name]["difference"] = against.difference.to_json() | {"p_holm": against.p}
    responses = [response for run in row.runs for response in run.responses]
    return {
        "model": row.label,
        "runs": row.repeats.runs,
        "withheld": row.withheld or None,
        "figures": found,
        "degenerate": degenerate(responses).to_json(),
    }
