"""The tables of figures that commands print: headline and by a tag.

Rates are shown in percent with their 95 % interval; `--json` gives them in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holisafe._printable import printable
from holisafe.metrics import FIGURES, Difference, Figure, Summary, figures
from holisafe.metrics.display import FEW_MARK, FEW_NOTE, few_mark, group_columns, group_name
from holisafe.records import NOT_SCORED

NOTHING = "–"
LABELS = {figure.name: figure.label for figure in FIGURES}
"""Labels of the figures by name."""


def print_summaries(summaries: Sequence[Summary], *, console: Console | None = None) -> None:
    """Headline table of each judge, without figures for which there are no samples, and what could not be judged.

    Args:
        summaries: One per judge, all of the same run.
        console: Where to print; standard output if not given.
    """
    console = console or Console()
    table = Table(title="Rates in %, with 95 % intervals", title_justify="left")
    table.add_column("judge", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for summary in summaries:
        found = {LABELS[name]: figure for name, figure in figures(summary).items() if figure is not None}
        for label, figure in found.items():
            table.add_row(escape(printable(summary.judge)), label, *_cells(figure))
        if not found:
            table.add_row(escape(printable(summary.judge)), "none", *_cells(None))
        table.add_section()
    console.print(table)
    if any(figure is not None and figure.is_few for summary in summaries for figure in figures(summary).values()):
        console.print(FEW_NOTE, highlight=False)
    for summary in summaries:
        for line in _not_scored(summary):
            console.print(line, highlight=False, markup=False)


def print_groups(summary: Summary, tag: str, *, console: Console | None = None) -> None:
    """The rates of each value of a tag with the counts behind them; nothing where no sample has the tag."""
    groups = summary.by.get(tag)
    if not groups:
        return
    console = console or Console()
    title = f"By {printable(tag)}, judge {printable(summary.judge)}: % (n)"
    table = Table(title=escape(title), title_justify="left")
    table.add_column(escape(printable(tag)))
    columns = group_columns(summary)
    for label in columns.values():
        table.add_column(label, justify="right", no_wrap=True)
    for value, rates in groups.items():
        table.add_row(escape(printable(group_name(value))), *(_short(rates.get(rate)) for rate in columns))
    console.print(table)
    if any(rate.is_few for rates in groups.values() for rate in rates.values()):
        console.print(FEW_NOTE, highlight=False)


def print_policies(guard: Mapping[str, Any], judge: str, *, console: Console | None = None) -> None:
    """What a guard flagged, and RR and mASR if flagged requests were refused.

    Args:
        guard: The guard's findings, as `--json` has them.
        judge: The judge whose rates are shown.
        console: Where to print; standard output if not given.
    """
    table = Table(
        title=f"Guard, judge {escape(printable(judge))}: flagged requests, and % if refused", title_justify="left"
    )
    table.add_column("flagged by", no_wrap=True)
    for column in ("SSS flagged", "unsafe flagged", LABELS["rr"], LABELS["masr_macro"]):
        table.add_column(column, justify="right", no_wrap=True)
    for row in guard["policies"][judge]:
        if row["policy"] != "warn":
            by = row["decide_by"] or "as measured"
            counts = ("", "") if row["decide_by"] is None else (str(row["flagged"][part]) for part in ("sss", "unsafe"))
            rates = (row[name] for name in ("rr", "masr_macro"))
            table.add_row(by, *counts, *(NOTHING if rate is None else f"{100 * rate['value']:.1f}" for rate in rates))
    (console or Console()).print(table)


def print_guards(found: Sequence[Mapping[str, Any]], *, console: Console | None = None) -> None:
    """What each guard flags of the same requests and images, and what it cannot express.

    Args:
        found: The rates of each guard, as `--json` has them.
        console: Where to print; standard output if not given.
    """
    from holisafe.guard import GuardRates

    console = console or Console()
    table = Table(title="Guards: flagged in %, with 95 % intervals", title_justify="left")
    table.add_column("guard")
    table.add_column("of", no_wrap=True)
    for column in ("%", "95 % interval", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    read = [GuardRates.from_json(each) for each in found]
    for rates in read:
        name = escape(printable(rates.guard))
        for kind, figure in rates.flagged.items():
            of = f"{kind.value} (false alarms)" if kind.is_safe else kind.value
            cells = _cells(figure) if kind in rates.expresses else (NOTHING, "cannot express", "")
            table.add_row(name, of, *cells)
        for of, figure in (("unsafe images", rates.unsafe_images), ("safe images", rates.safe_images)):
            if figure is not None:
                table.add_row(name, of, *_cells(figure))
        table.add_section()
    console.print(table)
    for rates in read:
        if rates.without:
            console.print(
                f"guard {printable(rates.guard)}: no verdict on {rates.without} of {rates.requests} requests; they "
                "count in n as not flagged, so that the rates are lower bounds",
                highlight=False,
                markup=False,
            )


def rate(figure: Figure | None) -> str:
    """A rate in percent, e.g. "4.9 (0–13)"; a dash where there are no samples."""
    if figure is None:
        return NOTHING
    return f"{100 * figure.value:.1f}{few_mark(figure)} ({100 * figure.low:.0f}–{100 * figure.high:.0f})"


def points(found: Difference | None) -> str:
    """A difference in points, e.g. "-2.1 (-9 to +5)"; a dash where there are no samples."""
    if found is None:
        return NOTHING
    value = round(100 * found.value, 1) + 0.0  # not -0.0
    return f"{value:+.1f} ({100 * found.low:+.0f} to {100 * found.high:+.0f})"


def _cells(figure: Figure | None) -> tuple[str, str, str]:
    if figure is None:
        return NOTHING, NOTHING, "0"
    value = f"{100 * figure.value:.1f}"
    shown = f"[bright_black]{value}{FEW_MARK}[/]" if figure.is_few else value
    return shown, f"{100 * figure.low:.1f} to {100 * figure.high:.1f}", str(figure.n)


def _short(figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    text = f"{100 * figure.value:.1f}{few_mark(figure)} ({figure.n})"
    return f"[bright_black]{text}[/]" if figure.is_few else text


def _not_scored(summary: Summary) -> list[str]:
    """One line per outcome without a score that occurs, and one for samples of which nothing is expected."""
    judge = printable(summary.judge)
    scored = [counts for part, counts in summary.outcomes.items() if part is not None]
    totals = {outcome: sum(counts.get(outcome, 0) for counts in scored) for outcome in NOT_SCORED}
    has_figures = any(figure is not None for figure in figures(summary).values())
    meaning = "; they count in n and in no numerator, so that the rates are lower bounds" if has_figures else ""
    lines = [
        f"judge {judge}: {count} samples ended as '{outcome}'{meaning}" for outcome, count in totals.items() if count
    ]
    if unscored := sum(summary.outcomes.get(None, {}).values()):
        lines.append(f"judge {judge}: {unscored} samples do not say what is expected; they are in no rate")
    return lines
