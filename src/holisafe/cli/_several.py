"""`holisafe bench` with several models, data sets or epochs: what is missing is measured, then one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe._printable import printable
from holisafe.cli._commands import BUDGET
from holisafe.cli._plan import money_words
from holisafe.cli._runs import resumable, show_progress, tell_requests, tell_troubles, tell_verdicts

if TYPE_CHECKING:
    from holisafe.bench import PartRow, Plan, RunPart, SharedBudget
    from holisafe.records import Run

FAILED = 1


def bench_several(
    models: Sequence[str],
    data: Sequence[str],
    setting: str | None,
    epochs: int,
    out: Path,
    options: Mapping[str, Any],
    *,
    plan: bool,
    as_json: bool,
) -> None:
    """Run every model on every data set in every epoch, or only say what that would ask, and print a table over all.

    Args:
        models: The models.
        data: The data sets.
        setting: Variant of a benchmark's prompt.
        epochs: How often each sample is asked.
        out: Folder of the run folders.
        options: Further arguments of `measure`; the budget is that of all runs together.
        plan: Whether only to say what would be asked.
        as_json: Whether to print JSON.

    Raises:
        Exit: A part failed, or the budget ended one.
    """
    from holisafe.bench import check_one_price, measure_parts, run_parts
    from holisafe.cli._part_tables import print_parts
    from holisafe.cli._plans import PlannedPart, print_plans

    parts = run_parts(models, data, setting=setting, epochs=epochs)
    shared, options = share_budget([out / part.folder for part in parts], options)
    check_one_price(models, shared.prices, shared.budget)
    if plan:
        planned = [
            PlannedPart.of(
                part.words,
                {"model": part.model, **part.options},
                planner(shared, part.model, out / part.folder, {**options, **part.options}),
            )
            for part in parts
        ]
        print_plans(planned, as_json)
        return

    def measure_part(part: RunPart, folder: Path) -> Run:
        typer.echo(printable(f"measuring {part.words}; into {folder}"), err=True)
        return measured(shared, part.model, part.data, folder, {**options, **part.options})

    rows = measure_parts(parts, out, measure_part, _tell)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "parts": [row.to_json() for row in rows]}))
    else:
        print_parts(rows, options["max_unjudged"])
        typer.echo(f"\nfor a page over all runs: holisafe report {out}/*/", err=True)
    leave(shared, (row.state for row in rows))


def share_budget(folders: Sequence[Path], options: Mapping[str, Any]) -> tuple[SharedBudget, dict[str, Any]]:
    """The budget of all runs together, and the options without it.

    Raises:
        RunError: It is no number above 0.
    """
    from holisafe.bench import SharedBudget, check_budget

    left = {name: value for name, value in options.items() if name not in ("prices", "budget")}
    check_budget(options["prices"], options["budget"], {})
    return SharedBudget(folders, options["budget"], options["prices"]), left


def measured(shared: SharedBudget, model: str, data: str, folder: Path, options: Mapping[str, Any]) -> Run:
    """One run, with a line of progress and a word on its troubles."""
    with resumable(folder), show_progress() as line:
        callbacks = {
            "progress": line.advance,
            "on_request": tell_requests(line),
            "on_verdict": tell_verdicts(line),
            "on_engine": line.stage,
        }
        found = shared.measure(model, folder, options, callbacks)
    tell_troubles(found, data)
    return found


def planner(shared: SharedBudget, model: str, folder: Path, options: Mapping[str, Any]) -> Callable[[], Plan]:
    """What plans one run."""
    from holisafe.bench import plan_run

    return lambda: plan_run(model, **options, out=folder, prices=shared.prices_of(model))


def leave(shared: SharedBudget, states: Iterable[str]) -> None:
    """Say what all parts have spent, and end with an exit code that says whether they are complete.

    Raises:
        Exit: A part failed (1), or the budget ended one (3).
    """
    found = set(states)
    if shared.spent:
        typer.echo(f"spent {money_words(shared.spent)} in all runs", err=True)
    if "failed" in found:
        raise typer.Exit(FAILED)
    if "stopped" in found:
        raise typer.Exit(BUDGET)


def _tell(row: PartRow) -> None:
    if row.state != "complete":
        typer.echo(printable(f"{row.part.words}: {row.state}: {row.reason}"), err=True)
