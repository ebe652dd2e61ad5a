"""`holisafe guard`: what images show, without a question and without an answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

NO_VERDICT = 1
"""Exit code where an image has no verdict; 2 is for what cannot be done at all."""

FAMILIES = Path(__file__).parents[1] / "families" / "tried.json"
"""What the conformance suite found of each family."""


class _Guard(TyperGroup):
    """Its first word is an image unless it is the name of one of its commands."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of `images` under the group's own name, or the group's where a command is named."""
        if args and args[0] in self.commands and args[0] != "images":
            return super().make_context(info_name, args, parent, **extra)
        return self.commands["images"].make_context(info_name, args, parent, **extra)


_guard = typer.Typer(cls=_Guard, help="Say what images show, without a question and without an answer.")


def register(app: typer.Typer) -> None:
    """Add `guard` and its commands."""
    app.add_typer(_guard, name="guard")


@_guard.command("images", no_args_is_help=True)
def images(
    image: Annotated[
        list[Path],
        typer.Argument(
            help="Image, folder, .zip, .tar or .tar.gz archive, or Parquet file with a column of images.",
            show_default=False,
        ),
    ],
    model: Annotated[str, typer.Option(help="pocket, a folder with a checkpoint, or a Hub id.")] = "pocket",
    guard: Annotated[
        str | None, typer.Option(help="Folder or Hub id of the guard; the model's own if not given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New file for all verdicts: .jsonl or .parquet.", show_default=False)
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most images.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that go through the model at once.")] = 16,
    device: Annotated[str | None, typer.Option(help="E.g. cpu, cuda:1.")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per image on standard output.")] = False,
) -> None:
    """Say what each image shows: its most probable label, and whether it is flagged as unsafe.

    Folders, archives and Parquet files are read one image after the other; nothing is extracted.

    Exit code 0: every image has a verdict; 1: some have none, and the reason is given; 2: nothing could be done.

    `holisafe guard families` lists the models that can be guarded; an image of that name is ./families.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from rich.console import Console

    from holisafe.cli._verdicts import Tally, check_out, judge, writing
    from holisafe.errors import ImageError
    from holisafe.images.sources import ImageSources

    sources = ImageSources(image, leave_out=out)
    if out is not None:
        check_out(out)
    tally = Tally()
    with _progress(limit, hidden=as_json and Console().is_terminal) as advance:
        classify, labels = _load(model, guard, device, dtype)
        advance(0)
        with writing(out, labels) as write, _until_interrupted() as is_interrupted:
            for judged in judge(islice(sources, limit), classify, batch_size):
                write(judged)
                tally.add(judged)
                if as_json:
                    typer.echo(json.dumps(judged.to_json(), ensure_ascii=False))
                advance(tally.images)
                if is_interrupted():
                    break
    if not as_json and tally.images:
        tally.show(Console(highlight=False), sources.passed_over)
    if out is not None:
        typer.echo(f"{tally.images:,} images are in {out}", err=True)
    if is_interrupted():
        raise KeyboardInterrupt
    if not tally.images:
        named = ", ".join(str(place) for place in image)
        raise ImageError(f"{named}: no images in there; {sources.passed_over} other files were passed over")
    if tally.without_verdict:
        if as_json:
            typer.echo(f"{tally.without_verdict} of {tally.images} images have no verdict", err=True)
        raise typer.Exit(NO_VERDICT)


@_guard.command("families")
def families(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """List the model families that can be guarded, and why others cannot."""
    from rich.console import Console
    from rich.table import Table

    from holisafe.cli._terminal import plain_line
    from holisafe.errors import GuardError

    if not FAMILIES.is_file():
        raise GuardError(f"{FAMILIES}: the table of families is missing from this installation; install holisafe again")
    rows: list[dict[str, str]] = json.loads(FAMILIES.read_text(encoding="utf-8"))
    if as_json:
        typer.echo(json.dumps({"families": rows}, ensure_ascii=False, indent=2))
        return
    can = [row for row in rows if not row["why_not"]]
    console = Console(highlight=False)
    table = Table("family", "told apart by", "features", "suite")
    for column in table.columns:
        column.no_wrap = True
    for row in can:
        table.add_row(*(plain_line(row[key]) for key in ("model_type", "grouping", "features", "result")))
    console.print(table)
    console.print(f"{len(can)} families can be guarded.")
    if len(can) < len(rows):
        others = Table("family", "why it cannot be guarded")
        for row in rows:
            if row["why_not"]:
                others.add_row(plain_line(row["model_type"]), plain_line(row["why_not"]))
        console.print(others)


def _load(model: str, guard: str | None, device: str | None, dtype: str | None) -> tuple[Callable[..., Any], list[str]]:
    """What classifies a batch of images, and the labels it tells apart."""
    from holisafe.guard import classify_images, guard_of
    from holisafe.guard.classify import classify_batch
    from holisafe.models import load

    guarded, processor = load(model, device=device, dtype=dtype, guard=guard or "own")
    classify_images(guarded, [], processor=processor)  # refuses a guard that has nothing to say of images
    return lambda batch: classify_batch(guarded, batch, processor=processor), list(guard_of(guarded).config.labels)


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed, so that what is being written is whole; pressed again, it stops at once."""
    is_asked = False

    def ask(*_: object) -> None:
        nonlocal is_asked
        if is_asked:
            raise KeyboardInterrupt
        is_asked = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: is_asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(limit: int | None, *, hidden: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error where that is a terminal, with images per second."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[done]}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    # standard output stays what it is: rich would send it to standard error
    with Progress(
        *columns, console=console, disable=hidden or not console.is_terminal, transient=True, redirect_stdout=False
    ) as bar:
        task = bar.add_task("loading the model", total=None, done="", rate="")
        start = 0.0

        def advance(done: int) -> None:
            nonlocal start
            start = start or monotonic()
            seconds = monotonic() - start
            rate = f"{done / seconds:.1f}/s" if seconds > 1 else ""
            bar.update(task, description="classifying", total=limit, completed=done, done=f"{done:,} images", rate=rate)

        yield advance
