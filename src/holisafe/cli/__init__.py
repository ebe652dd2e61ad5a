"""The `holisafe` command: one thin module per room, joined here."""

from __future__ import annotations

import importlib

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Measure, guard and tune vision-language models.")
for _name in ("data", "bench", "score", "report", "demo"):
    importlib.import_module(f"holisafe.cli.{_name}").register(app)
