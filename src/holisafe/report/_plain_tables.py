"""The figures alone, as Markdown or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from holisafe.blind import MARK
from holisafe.metrics import FIGURES, Figure, figures
from holisafe.metrics.display import FEW_NOTE
from holisafe.records import Run
from holisafe.report import _guards
from holisafe.report._blind import blind_notes, blind_rows
from holisafe.report._caveats import caveats_of
from holisafe.report._file import put
from holisafe.report._guard import csv_rows, findings_of, markdown
from holisafe.report._table import judge_rows, percent
from holisafe.report.text import cell, csv_cell


def write_markdown(runs: Sequence[Run], out: str | Path) -> Path:
    """Write the figures, and a guard's tables, as Markdown: rates in percent with 95 % intervals.

    Epochs of one run are one row, with ± the standard deviation between them.

    Raises:
        RunError: There is nothing to write, or `out` cannot be written.
    """
    judged_runs = judge_rows(runs)
    blind = blind_rows(judged_runs)
    lines = [
        "| run | judge | epochs | samples | " + " | ".join(figure.label for figure in FIGURES) + " |",
        "|---|---|--:|--:|" + "--:|" * len(FIGURES),
    ]
    for judged in judged_runs:
        for judge, summary in judged.summaries.items():
            reached = blind[judged.name].reached(judge)
            between = judged.between.get(judge, {})
            cells = [
                percent(figure) + _spread(between.get(name)) + MARK * (name in reached)
                for name, figure in figures(summary).items()
            ]
            names = [cell(judged.name), cell(judge), str(len(judged.epochs)), str(len(judged.run.samples))]
            lines.append("| " + " | ".join([*names, *cells]) + " |")
            for baseline in blind[judged.name].baselines(judge):
                cells = [percent(figure) for figure in figures(baseline.summary).values()]
                lines.append("| " + " | ".join([cell(f"{judged.name}: {baseline.name}"), *names[1:], *cells]) + " |")
    for name, findings in findings_of(judged_runs).items():
        lines += markdown(name, findings)
    for name, rates in _guards.rates_of(judged_runs).items():
        lines += _guards.markdown(name, rates)
    lines += [
        "",
        "Rates in %, with 95 % intervals that allow for shared images. For the key see docs/report.md of holisafe.",
    ]
    if any(len(judged.epochs) > 1 for judged in judged_runs):
        lines.append("±: standard deviation between the epochs of a run; the interval is of their mean, over samples.")
    lines += [FEW_NOTE, *map(cell, blind_notes(blind))]
    for judged in judged_runs:
        lines += [f"{cell(judged.name)}: {cell(caveat)}" for caveat in caveats_of(judged)]
    return put(out, "\n".join(lines) + "\n")


def _spread(between: float | None) -> str:
    """A standard deviation between epochs, in points; nothing for one epoch."""
    return "" if between is None else f" ± {100 * between:.1f}"


def write_csv(runs: Sequence[Run], out: str | Path) -> Path:
    """Write the figures of runs and guards as CSV, one a row: rates in [0, 1], empty where there are no samples.

    Epochs of one run are one row: `epochs` counts them, and `between` is the standard deviation between them, empty for
    one. Rows of a guard are of the first. A name that a spreadsheet would take for a formula begins with an apostrophe.

    Raises:
        RunError: There is nothing to write, or `out` cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", "judge", "figure", "value", "low", "high", "n", "between", "epochs"])

    def add(row: Sequence[object], between: float | None = None, epochs: int = 1) -> None:
        shown = [csv_cell(value) if isinstance(value, str) else value for value in row]
        table.writerow([*shown, "" if between is None else between, epochs])

    judged_runs = judge_rows(runs)
    blind = blind_rows(judged_runs)
    for judged in judged_runs:
        for judge, summary in judged.summaries.items():
            between = judged.between.get(judge, {})
            for key, figure in figures(summary).items():
                add([judged.name, judge, key, *_numbers(figure)], between.get(key), len(judged.epochs))
            for baseline in blind[judged.name].baselines(judge):
                for key, figure in figures(baseline.summary).items():
                    add([f"{judged.name}: {baseline.name}", judge, key, *_numbers(figure)])
    for name, findings in findings_of(judged_runs).items():
        for row in csv_rows(name, findings):
            add(row)
    for name, rates in _guards.rates_of(judged_runs).items():
        for row in _guards.csv_rows(name, rates):
            add(row)
    return put(out, text.getvalue())


def _numbers(figure: Figure | None) -> list[object]:
    return ["", "", "", 0] if figure is None else [figure.value, figure.low, figure.high, figure.n]
