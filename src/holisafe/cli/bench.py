"""`holisafe bench`: measure a model on all five combinations."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated

import typer

from holisafe.cli._runs import goes_on, print_figures, show_progress, tell_troubles, to_json


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("bench")(bench)


def bench(
    model: Annotated[
        str,
        typer.Argument(
            help="pocket, a folder with a checkpoint, a Hub id, or any Inspect model (openai/gpt-4o, mockllm/model). "
            "holisafe/ORG/NAME is always a Hub id."
        ),
    ],
    data: Annotated[str, typer.Option(help="Name of a data set, a path, or a Hub id.")] = "open",
    split: Annotated[str, typer.Option(help="Split of the data.")] = "test",
    judge: Annotated[list[str] | None, typer.Option(help="Judge; may be given more than once.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Samples; each combination keeps its share.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most new tokens per answer.")] = 512,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/MODEL-DATA if not given.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of a local model, e.g. cpu, cuda:1.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    attention: Annotated[str | None, typer.Option(help="Attention backend, e.g. sdpa.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most prompts a local model answers at once.")] = 16,
    revision: Annotated[str | None, typer.Option(help="Hub revision of a local model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw and of the intervals.")] = 0,
    image_reuse: Annotated[bool, typer.Option(help="Compute what questions about one image share only once.")] = True,
    guard: Annotated[
        str | None,
        typer.Option(
            help="Guard whose verdicts are recorded with the answers of a local model: own (the one that comes with "
            "it), a folder, or a Hub id."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the figures on standard output.")
    ] = False,
) -> None:
    """Ask MODEL every question of the data with its image, judge the answers, and print the rates.

    Interrupted and started again with the same command, it goes on where it was.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from holisafe.bench import run

    folder = out or Path("runs") / _folder_name(model, data)
    typer.echo(f"measuring {model} on {data} ({split}); answers of up to {max_tokens} tokens; into {folder}", err=True)
    with goes_on(folder), show_progress() as progress:
        measured = run(
            model,
            data=data,
            split=split,
            judges=tuple(dict.fromkeys(judge or ["holisafe"])),
            limit=limit,
            out=folder,
            max_tokens=max_tokens,
            seed=seed,
            device=device,
            dtype=dtype,
            attention=attention,
            revision=revision,
            batch_size=batch_size,
            image_reuse=image_reuse,
            guard=guard,
            progress=progress,
        )
    tell_troubles(measured, data)
    if as_json:
        typer.echo(json.dumps(to_json(measured, model, folder)))
        return
    print_figures(measured)
    typer.echo(f"\nholisafe report {folder} shows it all", err=True)


def _folder_name(model: str, data: str) -> str:
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", name).strip("_.") or "model" for name in (model, data))
