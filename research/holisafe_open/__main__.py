"""Build HoliSafe-Open again from its art, or the larger set for training, bit for bit.

python -m research.holisafe_open open --art build/art
python -m research.holisafe_open open-more --art build/art --out build/open-more
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from holisafe.errors import HoliSafeError, UnknownNameError
from research.holisafe_open.build import build_open
from research.holisafe_open.more import build_more


def build(
    name: Annotated[str, typer.Argument(help="What to build: open, or open-more (a larger set for training).")],
    art: Annotated[Path, typer.Option(help="Folder with the local copies of the art collections.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; for open, that of holisafe-assets where not given.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="open: fail unless the files equal the shipped ones.")] = False,
    scale: Annotated[float, typer.Option(min=0.001, help="open-more: factor on how much is made.")] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="open-more: processes that draw.")] = 1,
) -> None:
    """Build HoliSafe-Open again from its art, or the larger set for training, bit for bit."""
    if name == "open":
        if scale != 1 or jobs != 1:
            raise typer.BadParameter("--scale and --jobs go with open-more: open has one size")
        written = build_open(art, out, check=check)
    elif name == "open-more":
        if out is None or check:
            raise typer.BadParameter("open-more is not shipped: it takes --out DIR and no --check")
        with _drawing() as advance:
            written = build_more(art, out, scale=scale, jobs=jobs, progress=advance)
    else:
        raise UnknownNameError("data set to build", name, ["open", "open-more"])
    typer.echo(f"wrote {written}")


@contextmanager
def _drawing() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error of the pictures drawn."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False) as bar:
        task = bar.add_task("planning", total=None)
        yield lambda done, count: bar.update(task, description="drawing", completed=done, total=count)


app = typer.Typer(add_completion=False)
app.command()(build)


def main() -> None:
    """Run the command; what a person did wrong ends in one line and exit code 2."""
    try:
        app()
    except HoliSafeError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
