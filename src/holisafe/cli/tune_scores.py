"""`holisafe tune-scores`: safety scores of reference answers, for `holisafe tune --method star-dss`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from holisafe.cli._options import AsJson, Attention, Device, Dtype, Revision, TrustRemoteCode
from holisafe.cli._progress import progress_line

UNREADABLE = 1
"""Exit code where images cannot be read; 2 is for what cannot be done at all."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("tune-scores")(tune_scores)


def tune_scores(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The model to be tuned: pocket, a folder, or a Hub id."),
    ],
    out: Annotated[Path, typer.Option(help="File for the scores; a file of the same scores is continued.")],
    data: Annotated[str, typer.Option(help="Safety data: name of a data set, a path, or a Hub id.")] = "open",
    split: Annotated[
        str | None, typer.Option(help="Split to score.", show_default="train; everything in data without splits")
    ] = None,
    guard: Annotated[
        str,
        typer.Option(
            help="own: the joint head of the model's guard. NAME:SOURCE: a guard model that judges responses, and its "
            "folder or Hub id, such as llama-guard-4:FOLDER."
        ),
    ] = "own",
    unit: Annotated[str, typer.Option(help="What a chunk is counted in: tokens or words.")] = "tokens",
    chunk_size: Annotated[int, typer.Option(min=1, help="Tokens or words of a chunk.")] = 5,
    device: Device = None,
    dtype: Dtype = None,
    attention: Attention = None,
    revision: Revision = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    r"""Score how safe reference answers are, chunk by chunk.

    A guard scores each request with the answer up to the end of each chunk, from 0 (unsafe) to 1 (safe). `holisafe tune
    --method star-dss --scores FILE` learns from the scores. They belong to the content of the data: after a change of
    the data, the same command scores what is new.

    Exit code 0: done; 1: done, but images cannot be read; 2: not done.

    \b
    Example:
      holisafe tune-scores pocket-safe --data open@2 --out scores.jsonl
    """
    from holisafe.models import ModelSpec
    from holisafe.tuning import score_answers

    spec = ModelSpec.parse(
        model, device=device, dtype=dtype, attention=attention, revision=revision, trust_remote_code=trust_remote_code
    )
    with progress_line("loading the model", "sample") as line:
        made = score_answers(
            spec, data, out, guard, unit=unit, chunk_size=chunk_size, split=split, progress=line.advance
        )
    if as_json:
        found = {"samples": made.samples, "computed": made.computed, "unreadable": made.unreadable, "mean": made.mean}
        typer.echo(json.dumps({"out": str(made.path), **found}))
    else:
        mean = "" if made.mean is None else f", mean {made.mean:.3f}"
        typer.echo(f"{made.path}: scores of {made.samples:,} samples, {made.computed:,} of them new{mean}")
    if made.unreadable:
        typer.echo(f"{made.unreadable} samples have an image that cannot be read, and no scores", err=True)
        raise typer.Exit(UNREADABLE)
