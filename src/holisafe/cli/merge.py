"""`holisafe merge`: one plain checkpoint of a tuned model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from holisafe.cli._options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("merge")(merge)


def merge(
    tuned: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `holisafe tune` wrote.")],
    out: Annotated[Path, typer.Option(help="New folder for the checkpoint.")],
    dtype: Annotated[str, typer.Option(help="Dtype: auto (the base model's), float32, bfloat16 or float16.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Write a tuned model as one plain transformers checkpoint.

    The checkpoint needs neither the base model nor PEFT. Its guard is in OUT/guard, where
    `holisafe bench OUT --guard own` finds it.
    """
    from holisafe.tuning import merge_tuned

    written = merge_tuned(tuned, out, dtype=dtype)
    has_guard = (written / "guard").is_dir()
    if as_json:
        typer.echo(json.dumps({"tuned": str(tuned), "out": str(written), "dtype": dtype, "guard": has_guard}))
        return
    typer.echo(f"the merged model is in {written}{', its guard in ' + str(written / 'guard') if has_guard else ''}")
