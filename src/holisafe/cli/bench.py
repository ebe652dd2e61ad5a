"""`holisafe bench`: measure a model on all five combinations."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("bench")(bench)


def bench(model: str) -> None:
    """Measure MODEL."""
    raise typer.Exit(1)
