"""`holisafe compare`: two runs or more, subtracted on the samples that they share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson, Test

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from holisafe.report import RunPair


_WIDE = 97
"""Columns of a terminal that hold the table with space beside its cells; 80 hold it without, and no digit is cut."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("compare")(compare)


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Folders of `holisafe bench` or `holisafe score --out`, or .eval logs; later ones are compared with "
            "the first.",
        ),
    ],
    judge: Annotated[
        list[str] | None,
        typer.Option("--judge", metavar="NAME", help="Judge; may be given more than once.", show_default="all"),
    ] = None,
    test: Annotated[Test, typer.Option(help="What gives the p-values: score, mcnemar or permutation.")] = Test.SCORE,
    as_json: AsJson = False,
) -> None:
    """Subtract runs on the samples that they share.

    Each later run minus the first, under each judge of both: difference with its 95 % interval, p, and p after Holm's
    correction over the figures of the table. Epochs of one run are one run: every answer counts.
    """
    from holisafe.bench import read_epochs
    from holisafe.errors import RunError, UnknownNameError
    from holisafe.report import pair_runs

    found = pair_runs([run for path in runs for run in read_epochs(path)], test=test.value)
    known = list(dict.fromkeys(pair.judge for pair in found))
    if wrong := [name for name in judge or () if name not in known]:
        raise UnknownNameError("judge of these runs", wrong[0], known)
    chosen = [pair for pair in found if not judge or pair.judge in judge]
    if all(pair.comparison is None for pair in chosen):
        raise RunError("; ".join(map(_not_compared, chosen)))
    if as_json:
        typer.echo(json.dumps({"test": test.value, "pairs": [_record(pair) for pair in chosen]}))
        return
    _print(chosen, test)


def _record(pair: RunPair) -> dict[str, Any]:
    differences = pair.comparison.to_json() if pair.comparison is not None else {}
    corrected, (before, after) = pair.corrected, pair.rates
    return {
        "judge": pair.judge,
        "first": pair.first,
        "second": pair.second,
        "first_epochs": pair.epochs[0],
        "second_epochs": pair.epochs[1],
        "shared": pair.shared,
        "only_one": pair.only_one,
        "why_not": pair.why_not or None,
        "differences": {
            name: None
            if each is None
            else {
                **each,
                "p_holm": corrected[name],
                "first": None if (one := before[name]) is None else one.value,
                "second": None if (other := after[name]) is None else other.value,
            }
            for name, each in differences.items()
        },
    }


def _print(pairs: Sequence[RunPair], test: Test) -> None:
    from rich.console import Console

    from holisafe.metrics import TEST_NAMES, PairedTest
    from holisafe.metrics.display import FEW_NOTE

    console = Console(highlight=False)
    for pair in pairs:
        if pair.comparison is None:
            _say(console, _not_compared(pair) + ".")
        else:
            console.print(_table(pair, padding=1 if console.width >= _WIDE else 0))
            _say(console, _samples(pair))
    if any(rate is not None and rate.is_few for pair in pairs for rate in pair.rates[0].values()):
        _say(console, FEW_NOTE)
    _say(
        console,
        f"p: two-sided, {TEST_NAMES[PairedTest(test.value)]}; p, Holm: corrected over the figures of its table. "
        "Intervals are of the score test.",
    )


def _table(pair: RunPair, padding: int) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from holisafe._printable import printable
    from holisafe.cli._tables import NOTHING
    from holisafe.metrics import FIGURES
    from holisafe.metrics.display import few_mark

    title = f"{printable(pair.second)} minus {printable(pair.first)}, judge {printable(pair.judge)}: % and points"
    table = Table(title=escape(title), title_justify="left", padding=(0, padding))
    table.add_column("figure", no_wrap=True)
    for column in ("first", "second", "difference", "95 % interval", "p", "p, Holm", "n"):
        table.add_column(column, justify="right", no_wrap=True)
    assert pair.comparison is not None
    for figure in FIGURES:
        found = pair.comparison.differences[figure.name]
        before, after = (rates[figure.name] for rates in pair.rates)
        if found is None or before is None or after is None:
            table.add_row(figure.label, *[NOTHING] * 6, "0")
            continue
        table.add_row(
            figure.label,
            f"{100 * before.value:.1f}{few_mark(before)}",
            f"{100 * after.value:.1f}{few_mark(after)}",
            _points(found.value),
            f"{_points(found.low)} to {_points(found.high)}",
            _chance(found.p),
            _chance(pair.corrected[figure.name]),
            str(found.n),
        )
    return table


def _samples(pair: RunPair) -> str:
    left_out = f"; {pair.only_one} samples of only one run are left out" if pair.only_one else ""
    first, second = (
        f"{name} ({epochs} epochs)" if epochs > 1 else name
        for name, epochs in zip((pair.first, pair.second), pair.epochs, strict=True)
    )
    return f"first: {first}; second: {second}; {pair.shared} samples of both{left_out}"


def _not_compared(pair: RunPair) -> str:
    return f"{pair.second} is not compared with {pair.first} under judge {pair.judge}: {pair.why_not}"


def _say(console: Console, line: str) -> None:
    from holisafe._printable import printable

    console.print(printable(line), markup=False, soft_wrap=True)


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}"


def _chance(p: float | None) -> str:
    return "–" if p is None else f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
