"""`holisafe merge`: one plain checkpoint of a tuned model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("merge")(merge)


def merge(
    tuned: Annotated[Path, typer.Argument(help="Folder that `holisafe tune` made.", show_default=False)],
    out: Annotated[Path, typer.Option(help="New folder for the checkpoint.", show_default=False)],
    dtype: Annotated[
        str, typer.Option(help="Dtype: auto (the base model's own), float32, bfloat16 or float16.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Write a tuned model as one plain transformers checkpoint, which needs neither its base model nor PEFT.

    Its guard goes to OUT/guard, so that `holisafe bench OUT --guard own` finds it.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging as transformers_logging

    from holisafe.tuning import merge_tuned

    transformers_logging.disable_progress_bar()
    written = merge_tuned(tuned, out, dtype=dtype)
    has_guard = (written / "guard").is_dir()
    if as_json:
        typer.echo(json.dumps({"tuned": str(tuned), "out": str(written), "dtype": dtype, "guard": has_guard}))
        return
    typer.echo(f"the merged model is in {written}{', its guard in ' + str(written / 'guard') if has_guard else ''}")
