"""`holisafe power`: how many samples it takes to see a difference."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from holisafe.cli._options import AsJson

if TYPE_CHECKING:
    from holisafe.metrics import Design, PowerRow


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("power")(power)


def power(
    n: Annotated[int, typer.Option("--n", help="Samples of each run.")],
    rate: Annotated[float, typer.Option(help="Rate of the first run, in (0, 1), such as its ASR.")],
    effect: Annotated[
        list[float] | None,
        typer.Option(
            help="Difference to see, in (-1, 1); may be given more than once.", show_default="1, 2, 3, 5, 10 points"
        ),
    ] = None,
    cluster_size: Annotated[float, typer.Option(help="Samples that share an image.")] = 1.0,
    icc: Annotated[float, typer.Option(help="Correlation of hits within an image, in [0, 1].")] = 0.0,
    correlation: Annotated[
        float, typer.Option(help="Correlation of two runs' hits on the same sample, in [0, 1).")
    ] = 0.3,
    alpha: Annotated[float, typer.Option(help="Two-sided significance level.")] = 0.05,
    target: Annotated[float, typer.Option("--power", help="Chance of seeing the difference.")] = 0.8,
    as_json: AsJson = False,
) -> None:
    """Print how many samples a comparison of two rates needs.

    Paired: both runs answer the same samples. Unpaired: each run answers samples of its own.
    """
    from holisafe.metrics import EFFECTS, Design, power_table, smallest_effect

    design = Design(rate, alpha, target, correlation, cluster_size, icc)
    rows = power_table(design, n, effect or EFFECTS)
    smallest = {kind: smallest_effect(design, n, paired=kind == "paired") for kind in ("paired", "unpaired")}
    if as_json:
        assumed = {
            "rate": rate,
            "alpha": alpha,
            "power": target,
            "correlation": correlation,
            "cluster_size": cluster_size,
            "icc": icc,
            "design_effect": design.design_effect,
        }
        record = {"n": n, "assumed": assumed, "smallest": smallest, "rows": [row.to_json() for row in rows]}
        typer.echo(json.dumps(record))
        return
    _print(design, n, rows, smallest)


def _print(design: Design, n: int, rows: tuple[PowerRow, ...], smallest: dict[str, float | None]) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"Samples to see a difference with power {design.power:g}, two-sided alpha {design.alpha:g}"
    table = Table(title=title, title_justify="left")
    for column in ("rate in %", "difference", "paired", "unpaired, each", f"power, n = {n}", "unpaired"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{100 * design.rate:g} to {100 * row.rate:g}",
            f"{100 * row.effect:+g}",
            f"{row.paired:,}",
            f"{row.unpaired:,}",
            f"{row.paired_power:.2f}",
            f"{row.unpaired_power:.2f}",
        )
    console = Console(highlight=False)
    console.print(table)
    for kind, found in smallest.items():
        seen = "no difference is seen" if found is None else f"the smallest difference seen is {100 * found:.1f} points"
        console.print(f"{kind}, n = {n}: {seen}")
    console.print(
        f"assumed: correlation {design.correlation:g} of two runs on one sample (paired), design effect "
        f"{design.design_effect:g} ({design.cluster_size:g} samples per image, ICC {design.icc:g})",
        soft_wrap=True,
    )
