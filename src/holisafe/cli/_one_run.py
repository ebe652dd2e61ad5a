"""`holisafe bench` with one model and one data set: a run, its figures, and how far it repeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe.cli import _anchors
from holisafe.cli._plan import print_plan, tell_spent
from holisafe.cli._runs import (
    print_figures,
    resumable,
    show_progress,
    tell_cost,
    tell_requests,
    tell_troubles,
    tell_verdicts,
    to_json,
)
from holisafe.cli._unjudged import require_verdicts

if TYPE_CHECKING:
    from holisafe.bench import RepeatCheck


def bench_one(
    model: str,
    data: str,
    setting: str | None,
    out: Path | None,
    options: Mapping[str, Any],
    anchors: Path | None,
    *,
    plan: bool,
    as_json: bool,
) -> None:
    """Measure, or only say what that would ask, and print the figures.

    Args:
        model: The model.
        data: The data set.
        setting: Variant of a benchmark's prompt.
        out: Folder of the run; the default one when None.
        options: Further arguments of `measure`.
        anchors: File of judgements by which a judge's drift is found.
        plan: Whether only to say what would be asked.
        as_json: Whether to print JSON.

    Raises:
        Exit: A judge has drifted.
    """
    from holisafe.bench import default_folder, measure, plan_run

    name = data if setting is None else f"{data}-{setting}"
    folder = out or default_folder(model, name, options["defence"])
    options = {**options, "data": data, "setting": setting, "out": folder}
    if plan:
        print_plan(plan_run(model, **options), as_json)
        return
    tokens = options["max_new_tokens"]
    typer.echo(
        f"measuring {model} on {data} ({options['split']}); answers of up to {tokens} tokens; into {folder}", err=True
    )
    drift = _anchors.check(anchors, options["judges"] or (), options["judge_model"], options["fallback_judge"])
    with resumable(folder), show_progress() as line:
        measured = measure(
            model,
            progress=line.advance,
            on_request=tell_requests(line),
            on_verdict=tell_verdicts(line),
            on_engine=line.stage,
            **options,
        )
    tell_spent(measured.provenance.get("spending"))
    tell_cost(measured.provenance.get("cost"))
    tell_troubles(measured, data)
    if as_json:
        typer.echo(json.dumps(to_json(measured, model, folder, options["max_unjudged"])))
    else:
        print_figures(measured, options["max_unjudged"])
        typer.echo(f"\nfor a page with every answer: holisafe report {folder}", err=True)
    _anchors.conclude(drift, folder)
    require_verdicts(measured.judgements, measured.responses)


def check_repeats(
    model: str, data: str, setting: str | None, out: Path | None, options: Mapping[str, Any], *, as_json: bool
) -> None:
    """Count answers that change with batch size, dtype and image reuse.

    Args:
        model: A local model.
        data: The data set.
        setting: Variant of a benchmark's prompt.
        out: Folder of the runs; the default one with "-repeats" when None.
        options: Further arguments of `measure`.
        as_json: Whether to print JSON.
    """
    from holisafe.bench import default_folder, repeat_check

    name = data if setting is None else f"{data}-{setting}"
    folder = out or default_folder(model, f"{name}-repeats", options["defence"])
    varied = ("batch_size", "dtype", "image_reuse")
    asked = {key: value for key, value in options.items() if key not in varied}
    typer.echo(f"measuring {model} on {data} four times; into {folder}", err=True)
    with resumable(folder), show_progress() as line:
        found = repeat_check(model, out=folder, data=data, setting=setting, progress=line.advance, **asked)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        _print_repeats(found)


def _print_repeats(found: RepeatCheck) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from holisafe._printable import printable
    from holisafe.cli._tables import rate

    table = Table(title=f"Of {found.samples} answers, changed: %, with 95 % intervals", title_justify="left")
    for head in ("between", "what"):
        table.add_column(head)
    for head in ("changed", "%"):
        table.add_column(head, justify="right")
    for each in found.comparisons:
        table.add_row(each.words, "text of the answer", str(each.texts.count), rate(each.texts.share))
        for judge, flips in each.outcomes.items():
            table.add_row("", escape(printable(f"outcome by {judge}")), str(flips.count), rate(flips.share))
        table.add_section()
    Console().print(table)
