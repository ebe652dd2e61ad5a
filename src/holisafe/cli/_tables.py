"""The tables of figures that commands print: headline, per category, and the difference of two runs.

Rates are shown in percent with their 95 % interval; `--json` gives them in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from holisafe.metrics import Comparison, Figure, Summary
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Category, Combination

NOTHING = "–"


def print_summaries(summaries: Sequence[Summary], *, console: Console | None = None) -> None:
    """Headline table of each judge, and what could not be judged.

    Args:
        summaries: One per judge, all of the same run.
        console: Where to print; standard output if not given.
    """
    console = console or Console()
    table = Table(title="Rates in %, with 95 % intervals", title_justify="left")
    table.add_column("judge", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for summary in summaries:
        for name, figure in _headline(summary).items():
            table.add_row(summary.judge, name, *_cells(figure))
        table.add_section()
    console.print(table)
    for summary in summaries:
        for line in _not_judged(summary):
            console.print(line, highlight=False)


def print_categories(summary: Summary, *, console: Console | None = None) -> None:
    """Category by combination: refusal rate on SSS, attack success rate on the rest, with the counts behind them."""
    console = console or Console()
    table = Table(title=f"By category, judge {summary.judge}: % (n)", title_justify="left")
    table.add_column("category")
    for combination in Combination:
        table.add_column(_rate_name(combination), justify="right", no_wrap=True)
    for category in Category:
        figures = [summary.by_category.get((category, combination)) for combination in Combination]
        if any(figures):
            table.add_row(category.display_name, *(_short(figure) for figure in figures))
    console.print(table)


def print_comparison(comparison: Comparison, first: str, second: str, *, console: Console | None = None) -> None:
    """Second run minus first, in percentage points, with interval and p-value."""
    console = console or Console()
    table = Table(title=f"{second} minus {first}, in percentage points", title_justify="left")
    table.add_column("what")
    for column in ("difference", "95 % interval", "p", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, found in comparison.differences.items():
        if found is None:
            table.add_row(name, NOTHING, NOTHING, NOTHING, "0")
            continue
        span = f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
        table.add_row(name, f"{100 * found.value:+.1f}", span, f"{found.p:.4f}", str(found.n))
    console.print(table)


def _headline(summary: Summary) -> Mapping[str, Figure | None]:
    return {
        _rate_name(Combination.SSS): summary.rr,
        **{_rate_name(combination): summary.asr[combination] for combination in UNSAFE_COMBINATIONS},
        "mASR, macro": summary.masr_macro,
        "mASR, pooled": summary.masr_pooled,
        "twin accuracy": summary.twin_accuracy,
    }


def _rate_name(combination: Combination) -> str:
    return f"RR {combination.value}" if combination.is_safe else f"ASR {combination.value}"


def _cells(figure: Figure | None) -> tuple[str, str, str]:
    if figure is None:
        return NOTHING, NOTHING, "0"
    return f"{100 * figure.value:.1f}", f"{100 * figure.low:.1f} to {100 * figure.high:.1f}", str(figure.n)


def _short(figure: Figure | None) -> str:
    return NOTHING if figure is None else f"{100 * figure.value:.1f} ({figure.n})"


def _not_judged(summary: Summary) -> list[str]:
    """One line per outcome that is no score, where there is any: the rates above are then lower bounds."""
    totals = {
        outcome: sum(counts.get(outcome, 0) for counts in summary.outcomes.values())
        for outcome in ("error", "unparsable")
    }
    return [
        f"judge {summary.judge}: {count} samples ended as '{outcome}'; they stay in n and in no rate"
        for outcome, count in totals.items()
        if count
    ]
