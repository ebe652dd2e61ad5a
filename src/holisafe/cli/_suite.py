"""`holisafe bench --suite`: models on every benchmark of a suite that is present."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe._printable import printable
from holisafe.cli._several import leave, measured, planner, share_budget

if TYPE_CHECKING:
    from holisafe.bench import SharedBudget, SuiteRow
    from holisafe.benchmarks import SuitePart
    from holisafe.cli._plans import PlannedPart
    from holisafe.records import Run


def bench_suite(
    models: Sequence[str],
    suite: str,
    root: Path | None,
    out: Path | None,
    options: Mapping[str, Any],
    *,
    plan: bool,
    as_json: bool,
) -> None:
    """Run what is present, or only say so, and print a table over all.

    Args:
        models: The models.
        suite: Name of the suite.
        root: Folder with a folder per benchmark.
        out: Folder of the suite; of several models, the folder around theirs; the default ones when None.
        options: Further arguments of `measure`; the budget is that of all runs together.
        plan: Whether only to say what would be run.
        as_json: Whether to print JSON.

    Raises:
        Exit: A benchmark failed, or the budget ended one.
    """
    from holisafe.bench import check_one_price
    from holisafe.benchmarks import plan_suite
    from holisafe.cli._plans import print_plans

    parts = plan_suite(suite, root)
    places = _places(models, suite, out)
    folders = [place / part.benchmark.name for place in places.values() for part in parts]
    shared, options = share_budget(folders, options)
    check_one_price(models, shared.prices, shared.budget)
    if plan:
        planned = [_planned(shared, model, part, place, options) for model, place in places.items() for part in parts]
        print_plans(planned, as_json, suite=suite)
        return
    rows = {model: _run(shared, model, parts, place, options) for model, place in places.items()}
    _print(rows, suite, places, as_json)
    leave(shared, (row.state for found in rows.values() for row in found))


def _places(models: Sequence[str], suite: str, out: Path | None) -> dict[str, Path]:
    """Each model's folder: `out` itself for one model.

    Raises:
        BadParameter: Two models would have one folder.
    """
    from holisafe.bench import default_folder

    if len(models) == 1:
        return {models[0]: out or default_folder(models[0], suite)}
    places = {model: (out or Path("runs")) / default_folder(model, suite).name for model in models}
    if len(set(places.values())) < len(models):
        raise typer.BadParameter(f"found {list(models)}; expected each once", param_hint="MODEL")
    return places


def _planned(shared: SharedBudget, model: str, part: SuitePart, place: Path, options: Mapping[str, Any]) -> PlannedPart:
    from holisafe.cli._plans import PlannedPart

    name = part.benchmark.name
    names = {"model": model, **part.to_json()}
    if part.data is None:
        return PlannedPart.missing(name, names, part.missing)
    words = f"{name}: run {part.data}, judge {part.benchmark.judge}, {model}"
    return PlannedPart.of(words, names, planner(shared, model, place / name, {**options, "data": part.data}))


def _run(
    shared: SharedBudget, model: str, parts: Sequence[SuitePart], place: Path, options: Mapping[str, Any]
) -> list[SuiteRow]:
    from holisafe.bench import run_suite

    def measure_part(part: SuitePart, folder: Path) -> Run:
        assert part.data is not None
        typer.echo(f"{part.benchmark.name}: measuring {model} on {part.data}; into {folder}", err=True)
        return measured(shared, model, part.data, folder, {**options, "data": part.data})

    return run_suite(parts, place, measure_part, _tell)


def _print(rows: Mapping[str, Sequence[SuiteRow]], suite: str, places: Mapping[str, Path], as_json: bool) -> None:
    from holisafe.cli._benchmark_tables import print_suite

    found = [
        {"model": model, "suite": suite, "out": str(places[model]), "parts": [row.to_json() for row in each]}
        for model, each in rows.items()
    ]
    if as_json:
        typer.echo(json.dumps(found[0] if len(found) == 1 else {"suite": suite, "models": found}))
        return
    for model, each in rows.items():
        print_suite(each, model if len(rows) > 1 else "")


def _tell(row: SuiteRow) -> None:
    if row.state != "complete":
        typer.echo(printable(f"{row.part.benchmark.name}: {row.state}: {row.reason}"), err=True)
