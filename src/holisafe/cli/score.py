"""`holisafe score`: apply judges to recorded answers."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add `score`."""
    app.command("score")(score)


def score() -> None:
    """Apply judges to recorded answers in the released format and print the figures."""
    raise NotImplementedError
