"""Tables of benchmarks: one's own figures, those of a suite, what is planned, and what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holisafe._printable import printable
from holisafe.cli._tables import NOTHING, rate

if TYPE_CHECKING:
    from holisafe.bench import SuiteRow
    from holisafe.benchmarks import Benchmark, BenchmarkFigure

ARROWS = {True: "↓", False: "↑"}
LEGEND = "%, with 95 % intervals; ↑ more is better, ↓ less is"


def print_benchmark(record: Mapping[str, Any] | None, *, console: Console | None = None) -> None:
    """A benchmark's own figures under each judge; nothing where the run is of none.

    Args:
        record: What `run.json` holds in `benchmark`.
        console: Where to print; standard output if not given.
    """
    from holisafe.benchmarks import BenchmarkFigure

    if record is None or not record["judges"]:
        return  # no judge has figures: what is printed of the judges says why
    table = _table(f"{record['title']}, setting {record['setting']}: {LEGEND}", "judge")
    for judge, figures in record["judges"].items():
        for each in map(BenchmarkFigure.from_json, figures):
            table.add_row(_plain(judge), *_cells(each))
        table.add_section()
    (console or Console()).print(table)


PROTOCOLS = (
    "A judge may stand in for the original's: `holisafe benchmarks NAME` and suite.json say so, and what that changes."
)


def print_suite(rows: Sequence[SuiteRow], model: str = "", *, console: Console | None = None) -> None:
    """The headline figures of every benchmark that was run, and why others were not.

    Args:
        rows: One per benchmark.
        model: The model, where the table is one of several.
        console: Where to print; standard output if not given.
    """
    console = console or Console()
    table = _table(f"{f'{model}, suite' if model else 'Suite'}: {LEGEND}", "benchmark", last="judge")
    for row in rows:
        for each in row.headline:
            table.add_row(_plain(row.part.benchmark.title), *_cells(each), _plain(row.judge))
        table.add_section()
    console.print(table)
    if any(row.state == "complete" for row in rows):
        _line(console, PROTOCOLS)
    for row in rows:
        if row.state != "complete":
            _line(console, f"{row.part.benchmark.name}: {row.state}: {row.reason}")
        elif row.errors:
            _line(console, f"{row.part.benchmark.name}: {row.errors} of {row.samples} samples ended in an error")


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


def _table(title: str, first: str, last: str = "") -> Table:
    table = Table(title=escape(printable(title)), title_justify="left")
    for column in (first, "figure"):
        table.add_column(column, overflow="fold", no_wrap=not last)
    for column in ("% (95 % interval)", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    if last:
        table.add_column(last)
    return table


def _cells(each: BenchmarkFigure) -> tuple[str, str, str]:
    n = "0" if each.figure is None else str(each.figure.n)
    return f"{_plain(each.label)} {ARROWS[each.lower_is_better]}", rate(each.figure), n


def print_published(made: Benchmark, *, console: Console | None = None) -> None:
    """What others reported of a benchmark, with the judge of each row; nothing where there is nothing.

    Args:
        made: The benchmark.
        console: Where to print; standard output if not given.
    """
    if not made.published:
        return
    shown = [kind for kind in made.kinds if any(kind.name in row.values for row in made.published)]
    table = Table(title=escape(f"{made.title}, published: %"), title_justify="left")
    table.add_column("model", overflow="fold")
    for kind in shown:
        table.add_column(f"{_plain(kind.label)} {ARROWS[kind.lower_is_better]}", justify="right", min_width=8)
    table.add_column("setting", overflow="fold")
    table.add_column("judge", overflow="fold")
    for row in made.published:
        values = (f"{100 * row.values[kind.name]:.1f}" if kind.name in row.values else NOTHING for kind in shown)
        table.add_row(_plain(row.model), *values, _plain(row.setting), _plain(row.judge))
    console = console or Console()
    console.print(table)
    sources = dict.fromkeys(f"{row.source}. {row.note}".rstrip(". ") for row in made.published)
    for source in sources:
        _line(console, f"source: {source}")


def _line(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    return escape(printable(text))
