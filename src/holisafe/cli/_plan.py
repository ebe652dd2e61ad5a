"""Options of what a run may cost, the plan that `--plan` prints, and what was spent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holisafe.bench import Plan, PlannedCalls

PlanOnly = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="Print what would be asked and, with prices, what it would cost; nothing is asked or written. Of "
        "several runs: one line each; with --suite also what is missing.",
    ),
]


def _price(option: str, whose: str, does: str, *others: str) -> Any:
    """An option, under one or more names, that takes the price of a million tokens that somebody reads or writes."""
    told = f"{whose}: price of a million tokens that {does}."
    return typer.Option(option, *others, min=0, metavar="MONEY", help=told, show_default="unknown")


PriceIn = Annotated[float | None, _price("--price-in", "Hosted model", "it reads")]
PriceOut = Annotated[float | None, _price("--price-out", "Hosted model", "it writes")]
JudgePriceIn = Annotated[float | None, _price("--judge-price-in", "Judge's model", "it reads")]
JudgePriceOut = Annotated[float | None, _price("--judge-price-out", "Judge's model", "it writes")]
OnlyPriceIn = Annotated[float | None, _price("--judge-price-in", "Judge's model", "it reads", "--price-in")]
"""For commands that ask no other model."""
OnlyPriceOut = Annotated[float | None, _price("--judge-price-out", "Judge's model", "it writes", "--price-out")]
GuardPriceIn = Annotated[float | None, _price("--guard-price-in", "Guard models of endpoints", "they read")]
GuardPriceOut = Annotated[float | None, _price("--guard-price-out", "Guard models of endpoints", "they write")]
Budget = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="MONEY",
        help="Stop, with exit code 3, once calls have cost this much; needs the prices. A larger one resumes.",
        show_default="none",
    ),
]


def print_plan(plan: Plan, as_json: bool) -> None:
    """The plan, as a table with what its numbers rest on, or as one JSON object."""
    if as_json:
        typer.echo(json.dumps(plan.to_json()))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from holisafe._printable import printable

    typer.echo(f"Plan of {plan.samples} samples; nothing was asked.")
    table = Table()
    table.add_column("", no_wrap=True)
    for part in plan.parts:
        name = printable(part.name) if part.role == "model" else f"{part.role} {printable(part.name)}"
        table.add_column(escape(name), justify="right", overflow="fold")
    for cells in zip(_HEADS, *map(_cells, plan.parts), strict=True):
        table.add_row(*cells)
    Console().print(table)
    for line in _notes(plan):
        typer.echo(line)


def tell_retirements(model: str | None, judge_model: str | None) -> None:
    """Warn on standard error of models that are retired, or will be within 60 days."""
    if model is None and judge_model is None:
        return
    from datetime import UTC, datetime

    from holisafe.bench import retirements

    today = datetime.now(UTC).date()
    for each in retirements(model, judge_model, today):
        typer.echo(f"warning: {each.words(today)}", err=True)


def tell_spent(spent: Mapping[str, Any] | None) -> None:
    """Say on standard error what a run has spent, where a price is known, and what of it is an estimate."""
    if not spent:
        return
    calls = sum(row["calls"] for row in spent["by"])
    estimated = sum(row["estimated_calls"] for row in spent["by"])
    if spent["money"] is not None and any(price is not None for price in spent["prices"].values()):
        typer.echo(f"spent {_money(spent['money'])} on {calls} calls", err=True)
    if estimated:
        typer.echo(
            f"the server reported no tokens for {estimated} of {calls} calls; they are counted by the plan's estimate",
            err=True,
        )


def money_words(amount: float | None) -> str:
    """Money to show."""
    return "unknown" if amount is None else _money(amount)


def _money(amount: float) -> str:
    from holisafe.bench import money_text

    return money_text(amount)


_HEADS = (
    "calls to make",
    "recorded already",
    "tokens of text in",
    "tokens of images in",
    "tokens out, expected",
    "tokens out, at most",
    "money, expected",
    "money, at most",
)


def _cells(part: PlannedCalls) -> list[str]:
    if not part.model:
        return ["none", f"{part.recorded:,}", *[""] * 6]
    images = count_text(part.images) if part.image_rule else "none"
    plus = " + images" if part.images is None and part.money else ""
    money = ["unknown" if each is None else _money(each) + plus for each in (part.money, part.money_at_most)]
    numbers = [count_text(part.text), images, count_text(part.output), count_text(part.output_at_most)]
    return [f"{part.calls:,}", f"{part.recorded:,}", *numbers, *money]


def _notes(plan: Plan) -> Iterator[str]:
    """What the numbers rest on."""
    yield f"Text: {plan.text_rule}."
    yield from dict.fromkeys(f"Images, {part.model}: {part.image_rule}." for part in plan.parts if part.image_rule)
    for part in plan.parts:
        if part.calls and part.model:
            yield f"{part.name}: {_basis(part)}"
    seconds = plan.seconds
    yield "Time: unknown, no call of this run was timed yet." if seconds is None else f"Time: about {seconds:,.0f} s."
    if plan.money is not None and plan.money_at_most is not None:
        unknown = any(part.images is None and part.money for part in plan.parts)
        more = "" if not unknown else ", and what the images cost whose tokens are unknown"
        yield f"Money: about {_money(plan.money)}, at most {_money(plan.money_at_most)}{more}."
    else:
        yield (
            "Money: unknown; give --price-in and --price-out, for judges --judge-price-in and --judge-price-out, for "
            "guard models --guard-price-in and --guard-price-out."
        )
    if plan.spent:
        spent = plan.money_spent
        calls = sum(total.calls for total in plan.spent.values())
        yield f"Spent so far: {'unknown' if spent is None else _money(spent)}, on {calls:,} calls."


def _basis(part: PlannedCalls) -> str:
    if part.measured:
        return f"length of replies as the mean of {part.measured:,} calls of this run."
    if part.role == "model":
        return "length of answers is not known yet: the maximum is counted."
    if part.output is None:
        return "what this judge sends is not known."
    if part.output == part.output_at_most:
        return "length of replies is not known yet: the maximum is counted."
    return "length of replies by the judge's reply format, without thoughts."


def count_text(number: int | None) -> str:
    """A count to show."""
    return "unknown" if number is None else f"{number:,}"
