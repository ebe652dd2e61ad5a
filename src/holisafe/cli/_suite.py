"""`holisafe bench --suite`: a model on every benchmark of a suite that is present."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe._printable import printable
from holisafe.cli._runs import resumable, show_progress, tell_requests, tell_troubles

if TYPE_CHECKING:
    from holisafe.bench import SuiteRow
    from holisafe.benchmarks import SuitePart
    from holisafe.records import Run

FAILED = 1


def bench_suite(
    model: str,
    suite: str,
    root: Path | None,
    out: Path,
    options: Mapping[str, Any],
    *,
    plan: bool,
    as_json: bool,
) -> None:
    """Run what is present, or only say so, and print a table over all.

    Args:
        model: The model.
        suite: Name of the suite.
        root: Folder with a folder per benchmark.
        out: Folder of the suite.
        options: Further arguments of `measure`.
        plan: Whether only to say what would be run.
        as_json: Whether to print JSON.

    Raises:
        Exit: A benchmark failed.
    """
    from holisafe.benchmarks import plan_suite
    from holisafe.cli._benchmark_tables import print_plan, print_suite

    parts = plan_suite(suite, root)
    if plan:
        if as_json:
            typer.echo(json.dumps({"suite": suite, "parts": [part.to_json() for part in parts]}))
        else:
            print_plan(parts)
        return
    from holisafe.bench import run_suite

    def measure_part(part: SuitePart, folder: Path) -> Run:
        typer.echo(f"{part.benchmark.name}: measuring {model} on {part.data}; into {folder}", err=True)
        return _measured(model, part, folder, options)

    rows = run_suite(parts, out, measure_part, _tell)
    if as_json:
        found = {"model": model, "suite": suite, "out": str(out), "parts": [row.to_json() for row in rows]}
        typer.echo(json.dumps(found))
    else:
        print_suite(rows)
    if any(row.state == "failed" for row in rows):
        raise typer.Exit(FAILED)


def _measured(model: str, part: SuitePart, folder: Path, options: Mapping[str, Any]) -> Run:
    from holisafe.bench import measure

    assert part.data is not None
    with resumable(folder), show_progress() as line:
        found = measure(
            model, data=part.data, out=folder, progress=line.advance, on_request=tell_requests(line), **options
        )
    tell_troubles(found, part.data)
    return found


def _tell(row: SuiteRow) -> None:
    if row.state != "complete":
        typer.echo(printable(f"{row.part.benchmark.name}: {row.state}: {row.reason}"), err=True)
