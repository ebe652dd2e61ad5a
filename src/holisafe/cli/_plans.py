"""The plan of several runs: one line each, and the sum."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from holisafe._printable import printable
from holisafe.cli._plan import count_text, money_words
from holisafe.errors import HoliSafeError

if TYPE_CHECKING:
    from holisafe.bench import Plan


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """What one run would ask.

    Attributes:
        words: What it is, to show.
        names: The same as JSON values.
        plan: What it would ask; None where it cannot run.
        reason: Why not.
    """

    words: str
    names: Mapping[str, Any]
    plan: Plan | None
    reason: str = ""

    @staticmethod
    def of(words: str, names: Mapping[str, Any], planned: Callable[[], Plan]) -> PlannedPart:
        """The plan that a call gives, or why it gives none."""
        try:
            return PlannedPart(words, names, planned())
        except HoliSafeError as error:
            return PlannedPart(words, names, None, str(error))

    @staticmethod
    def missing(words: str, names: Mapping[str, Any], reason: str) -> PlannedPart:
        """A run that cannot be made."""
        return PlannedPart(words, names, None, f"missing: {reason}")


def print_plans(parts: Sequence[PlannedPart], as_json: bool, **names: Any) -> None:
    """The plans as a line each with their sum, or as one JSON object that begins with `names`."""
    plans = [part.plan for part in parts if part.plan is not None]
    money = _sum([plan.money for plan in plans])
    at_most = _sum([plan.money_at_most for plan in plans])
    if as_json:
        found = [{**part.names, "plan": part.plan and part.plan.to_json(), "reason": part.reason} for part in parts]
        typer.echo(json.dumps({**names, "parts": found, "money": money, "money_at_most": at_most}))
        return
    typer.echo("Plan; nothing was asked.")
    for part in parts:
        typer.echo(printable(f"{part.words}: {part.reason if part.plan is None else _line(part.plan)}"))
    typer.echo(f"Money of all: {money_words(money)}, at most {money_words(at_most)}.")
    if any(not plan.images_are_known for plan in plans):
        typer.echo("The tokens of images are not known for every model; the plan of that run alone says more.")


def _line(plan: Plan) -> str:
    asked = [part for part in plan.parts if part.model]
    calls = sum(part.calls for part in asked)
    recorded = sum(part.recorded for part in plan.parts)
    read = count_text(_sum([part.input for part in asked if part.calls]))
    written = count_text(_sum([part.output_at_most for part in asked if part.calls]))
    return (
        f"{calls:,} calls, {recorded:,} recorded already; tokens in {read}, out at most {written}; money "
        f"{money_words(plan.money)}, at most {money_words(plan.money_at_most)}"
    )


def _sum(values: Sequence[Any]) -> Any:
    return None if None in values else sum(values)
