"""The table over several runs: one row per model, for each data set and judge; epochs with both kinds of spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holisafe._printable import printable
from holisafe.cli._benchmark_tables import ARROWS
from holisafe.cli._tables import NOTHING, rate
from holisafe.metrics import FIGURES, HEADLINE, Figure
from holisafe.metrics.display import FEW_NOTE

if TYPE_CHECKING:
    from holisafe.bench import PartRow
    from holisafe.records import Run

COLUMNS = ("rr", "masr_macro", "masr_pooled", "twin_accuracy")
"""Figures that every data set may have; each run's own table has the others."""

ARROWS_OF = {figure.name: ARROWS[not figure.higher_is_better] for figure in HEADLINE}
LABELS = {figure.name: figure.label for figure in FIGURES}


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure with its interval over samples and its standard deviation between epochs (None for one epoch)."""

    figure: Figure | None
    between: float | None = None

    def __str__(self) -> str:
        return rate(self.figure) + ("" if self.between is None else f" ±{100 * self.between:.1f}")


def print_parts(rows: Sequence[PartRow], max_unjudged: float, *, console: Console | None = None) -> None:
    """What is complete as tables, and why the rest is not.

    Args:
        rows: The parts.
        max_unjudged: Share of answers without a verdict above which a judge has no figures.
        console: Where to print; standard output if not given.
    """
    console = console or Console()
    by_data: dict[tuple[str, str | None], dict[str, list[Run]]] = {}
    for row in rows:
        if row.run is not None:
            by_data.setdefault((row.part.data, row.part.setting), {}).setdefault(row.part.model, []).append(row.run)
    is_few = False
    for (data, _), models in by_data.items():
        for judge in dict.fromkeys(judge for runs in models.values() for run in runs for judge in run.judgements):
            found = {model: _cells(runs, judge, max_unjudged) for model, runs in models.items()}
            _print(console, f"{data}, judge {judge}", found, {model: len(runs) for model, runs in models.items()})
            cells = [cell.figure for cells in found.values() for cell in cells.values()]
            is_few = is_few or any(figure is not None and figure.is_few for figure in cells)
    if is_few:
        console.print(FEW_NOTE, highlight=False)
    for row in rows:
        if row.state != "complete":
            console.print(printable(f"{row.part.words}: {row.state}: {row.reason}"), markup=False, soft_wrap=True)


def _print(console: Console, title: str, found: Mapping[str, Mapping[str, Cell]], epochs: Mapping[str, int]) -> None:
    spread = "; ± is the standard deviation between epochs" if any(number > 1 for number in epochs.values()) else ""
    table = Table(title=escape(printable(f"{title}: %, with 95 % intervals{spread}")), title_justify="left")
    table.add_column("model", overflow="fold")
    table.add_column("epochs", justify="right")
    columns = dict.fromkeys(name for cells in found.values() for name, cell in cells.items() if cell.figure)
    for name in columns:
        table.add_column(escape(printable(name)), justify="right")
    for model, cells in found.items():
        shown = (str(cells[name]) if name in cells else NOTHING for name in columns)
        table.add_row(escape(printable(model)), str(epochs[model]), *shown)
    console.print(table)


def _cells(runs: Sequence[Run], judge: str, most: float) -> dict[str, Cell]:
    """The figures of one model's epochs under a judge, by the head of their column; none where they are withheld."""
    from holisafe.metrics import figures, judges_with_figures, summarise_repeats

    shown = [run for run in runs if judge in judges_with_figures(run.responses, run.judgements, most)]
    if not shown or len(shown) < len(runs):  # a mean over the others would hide it
        return {}
    found = summarise_repeats(shown[0].samples, [run.judgements[judge] for run in shown], by=())
    values = figures(found.summary)
    cells = {f"{LABELS[name]} {ARROWS_OF[name]}": Cell(values[name], found.between[name]) for name in COLUMNS}
    return cells | _benchmark_cells(shown, judge, most)


def _benchmark_cells(runs: Sequence[Run], judge: str, most: float) -> dict[str, Cell]:
    """A benchmark's headline figures over all epochs, by the head of their column."""
    import statistics

    from holisafe.benchmarks import BenchmarkFigure, benchmark_record, get
    from holisafe.metrics import pooled

    records = [run.provenance.get("benchmark") for run in runs]
    if not all(record and judge in record["judges"] for record in records):
        return {}
    first = records[0]
    assert first is not None
    each = [
        {figure.name: figure for figure in map(BenchmarkFigure.from_json, record["judges"][judge])}
        for record in records
        if record
    ]
    names = [kind.name for kind in get(first["name"]).kinds if kind.in_suite]
    overall = each[0]
    if len(runs) > 1:
        samples, judged = pooled(runs[0].samples, [run.judgements[judge] for run in runs])
        responses = [
            replace(response, sample_id=f"{at}:{response.sample_id}")
            for at, run in enumerate(runs)
            for response in run.responses
        ]
        again = benchmark_record(samples, responses, {judge: judged}, most)
        assert again is not None
        overall = {figure.name: figure for figure in map(BenchmarkFigure.from_json, again["judges"][judge])}
    cells: dict[str, Cell] = {}
    for name in names:
        values = [found[name].figure for found in each]
        figure = overall[name].figure
        known = [value.value for value in values if value is not None]
        cells[f"{overall[name].label} {ARROWS[overall[name].lower_is_better]}"] = Cell(
            None if figure is None else replace(figure, n=figure.n // len(runs)),
            statistics.stdev(known) if len(known) == len(runs) > 1 else None,
        )
    return cells
