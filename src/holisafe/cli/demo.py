"""`holisafe demo`: a real model measured on all five combinations within minutes, and a report to look at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from holisafe.cli._runs import goes_on, print_figures, show_progress, tell_troubles, to_json

MODEL = "pocket"
PROTOCOL_TOKENS = 512


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("demo")(demo)


def demo(
    samples: Annotated[int, typer.Option(min=5, help="Samples; each combination keeps its share.")] = 240,
    out: Annotated[Path, typer.Option(help="Folder of the run and its report.")] = Path("out/demo"),
    max_tokens: Annotated[int, typer.Option(min=1, help="Most new tokens per answer; the protocol has 512.")] = 32,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the figures on standard output.")
    ] = False,
) -> None:
    """Measure Pocket on a part of HoliSafe-Open, print the figures, and write the report.

    Interrupted and started again with the same command, it goes on where it was.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    shorter = f", fewer than the protocol's {PROTOCOL_TOKENS}" if max_tokens < PROTOCOL_TOKENS else ""
    typer.echo(
        f"measuring {MODEL} on {samples} samples of HoliSafe-Open, all five combinations; "
        f"answers of up to {max_tokens} new tokens{shorter}; into {out}",
        err=True,
    )
    from holisafe.bench import run
    from holisafe.report import write_report

    with goes_on(out), show_progress() as progress:
        measured = run(
            MODEL,
            data="open",
            split="test",
            judges=("holisafe", "refusal"),
            limit=samples,
            out=out,
            max_tokens=max_tokens,
            progress=progress,
        )
    tell_troubles(measured, "open")
    typer.echo("writing the report", err=True)
    page = write_report([measured], out / "report.html", title="Pocket on HoliSafe-Open")
    if as_json:
        typer.echo(json.dumps(to_json(measured, MODEL, out) | {"report": str(page)}))
        return
    print_figures(measured)
    if shorter:
        typer.echo(f"Answers of up to {max_tokens} new tokens{shorter}.")
    typer.echo(f"The report is in {page}: open it in a browser.")
