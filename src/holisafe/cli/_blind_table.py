"""The tables of blind baselines, alone or beside a model's figures."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holisafe._printable import printable
from holisafe.blind import LEGEND, MARK, BlindResult
from holisafe.cli._tables import points, rate
from holisafe.metrics import HEADLINE, headline
from holisafe.metrics.display import FEW_NOTE


def print_blind(result: BlindResult, training: str, model: str = "", *, console: Console | None = None) -> None:
    """Print the figures; those of the model that a baseline reaches are marked.

    Args:
        result: The baselines at one refusal rate.
        training: What they were trained on.
        model: The model's name, where there is one.
        console: Where to print; standard output if not given.
    """
    console = console or Console(highlight=False)
    judged = f", judge {printable(result.model.judge)}" if result.model else ""
    table = _table(f"Blind baselines at RR up to {100 * result.rr:.1f} %{judged}: % (95 % interval)")
    if result.model:
        table.add_column(escape(printable(model)), justify="right")
    for baseline in result.baselines:
        table.add_column(escape(printable(baseline.name)), justify="right")
    own = headline(result.model) if result.model else {}
    columns = [headline(baseline.summary) for baseline in result.baselines]
    for each in HEADLINE:
        cells = [
            rate(figure) + MARK * (each.name in result.reached) for name, figure in own.items() if name == each.name
        ]
        table.add_row(each.label, *cells, *(rate(column[each.name]) for column in columns))
    console.print(table)
    if any(figure is not None and figure.is_few for column in (own, *columns) for figure in column.values()):
        console.print(FEW_NOTE)
    if result.reached:
        console.print(LEGEND, markup=False)
    console.print(f"Baselines: {printable(training)}.", markup=False)


def print_blind_differences(result: BlindResult, model: str, *, console: Console | None = None) -> None:
    """Print the model's figures minus those of each baseline, paired; nothing where they were not compared."""
    console = console or Console(highlight=False)
    compared = {each.name: each.difference.differences for each in result.baselines if each.difference is not None}
    if not compared:
        return
    table = _table(f"{printable(model)} minus the baseline, in points (95 % interval)")
    for name in compared:
        table.add_column(escape(printable(name)), justify="right")
    for each in HEADLINE:
        table.add_row(each.label, *(points(found[each.name]) for found in compared.values()))
    console.print(table)


def _table(title: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    table.add_column("figure", no_wrap=True)
    return table
