"""The `holisafe` command: one thin module per room, found by its file name, imported only when asked for.

A module `holisafe/cli/NAME.py` has `register(app)`, which adds the command NAME. Commands raise; `_commands`
alone turns what they raise into one line on standard error and an exit code: 2 for an error a person can act
on, 3 where a budget is spent, 130 when interrupted, 141 when nobody reads the output any more.
"""

from __future__ import annotations

import typer

from holisafe._version import __version__
from holisafe.cli._commands import Commands

__all__ = ["app"]

app = typer.Typer(
    name="holisafe",
    cls=Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Measure, guard and tune vision-language models.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"holisafe {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Measure, guard and tune vision-language models."""
