"""Tables of benchmarks: one's own figures, those of a suite, what is planned, and what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holisafe._printable import printable
from holisafe.cli._tables import rate

if TYPE_CHECKING:
    from holisafe.bench import SuiteRow
    from holisafe.benchmarks import Benchmark, SuitePart

BETTER = {True: "lower", False: "higher"}


def print_benchmark(record: Mapping[str, Any] | None, *, console: Console | None = None) -> None:
    """A benchmark's own figures under each judge; nothing where the run is of none.

    Args:
        record: What `run.json` holds in `benchmark`.
        console: Where to print; standard output if not given.
    """
    from holisafe.benchmarks import BenchmarkFigure

    if record is None:
        return
    table = Table(
        title=escape(printable(f"{record['title']}, setting {record['setting']}: %, with 95 % intervals")),
        title_justify="left",
    )
    for column in ("judge", "figure"):
        table.add_column(column, no_wrap=True)
    table.add_column("% (95 % interval)", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("better")
    for judge, figures in record["judges"].items():
        for each in map(BenchmarkFigure.from_json, figures):
            n = "0" if each.figure is None else str(each.figure.n)
            table.add_row(_plain(judge), _plain(each.label), rate(each.figure), n, BETTER[each.lower_is_better])
        table.add_section()
    (console or Console()).print(table)


def print_suite(rows: Sequence[SuiteRow], *, console: Console | None = None) -> None:
    """The headline figures of every benchmark that was run, and why others were not.

    Args:
        rows: One per benchmark.
        console: Where to print; standard output if not given.
    """
    console = console or Console()
    table = Table(title="Suite: %, with 95 % intervals", title_justify="left")
    for column in ("benchmark", "figure"):
        table.add_column(column, no_wrap=True)
    table.add_column("% (95 % interval)", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for column in ("better", "judge", "errors"):
        table.add_column(column)
    for row in rows:
        for each in row.headline:
            n = "0" if each.figure is None else str(each.figure.n)
            cells = (rate(each.figure), n, BETTER[each.lower_is_better], _plain(row.judge), str(row.errors))
            table.add_row(_plain(row.part.benchmark.title), _plain(each.label), *cells)
        table.add_section()
    console.print(table)
    for row in rows:
        if row.state != "complete":
            console.print(
                printable(f"{row.part.benchmark.name}: {row.state}: {row.reason}"), markup=False, soft_wrap=True
            )


def print_plan(parts: Sequence[SuitePart], *, console: Console | None = None) -> None:
    """What a suite would run, and what is missing, why, and how to get it."""
    console = console or Console()
    for part in parts:
        what = f"run {part.data}, judge {part.benchmark.judge}" if part.data else f"missing: {part.missing}"
        _line(console, f"{part.benchmark.name}: {what}")


def print_benchmarks(found: Sequence[Benchmark], *, console: Console | None = None) -> None:
    """What there is: size, licence, judge, settings, what it can tell and what not."""
    console = console or Console()
    for made in found:
        lines = {
            "size": made.size,
            "licence": made.licence,
            "judge": made.judge,
            "settings": ", ".join(made.settings),
            "tells": made.tells,
            "cannot tell": made.cannot_tell,
            "protocol": made.protocol,
            "data": made.how_to_get,
        }
        console.print(
            printable(f"{made.name}: {made.title} ({made.paper})"), markup=False, style="bold", soft_wrap=True
        )
        for name, text in lines.items():
            _line(console, f"  {name}: {text}")


def _line(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    return escape(printable(text))
