"""`holisafe guard`: what images show, without a question and without an answer."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from holisafe.cli import _answers, _guard_train
from holisafe.cli._options import AsJson, Device, Dtype
from holisafe.cli._progress import progress_line

if TYPE_CHECKING:
    from holisafe.cli._verdicts import AboutGuard

NO_VERDICT = 1
"""Exit code where an image has no verdict; 2 is for what cannot be done at all."""

FAMILIES = Path(__file__).parents[1] / "families" / "tried.json"
"""What the conformance suite found of each family."""


class FirstWordGroup(TyperGroup):
    """Its first word is an image or a source unless it is the name of one of its commands."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of `images` under the group's own name, or the group's where a command is named."""
        if args and args[0] in self.commands and args[0] != "images":
            return super().make_context(info_name, args, parent, **extra)
        return self.commands["images"].make_context(info_name, args, parent, **extra)


_guard = typer.Typer(cls=FirstWordGroup, rich_markup_mode=None, help="Give verdicts on images, without a question.")


def register(app: typer.Typer) -> None:
    """Add `guard` and its commands."""
    _guard_train.register(_guard)
    _answers.register(_guard)
    app.add_typer(_guard, name="guard")


@_guard.command("images", no_args_is_help=True)
def images(
    image: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE",
            help="Image, folder, .zip, .tar or .tar.gz archive, Parquet file with a column of images, or fsspec URL "
            "of any of these (s3://bucket/shards/*.tar).",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(help="pocket or pocket-safe (they know drawings only), a folder with a checkpoint, or a Hub id."),
    ] = "pocket",
    guard: Annotated[
        str | None, typer.Option(help="Folder or Hub id of the guard.", show_default="the model's own")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write all verdicts to a new .jsonl or .parquet file, or to a folder of Parquet parts, each written "
            "when it is complete.",
            show_default="none",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted scan; needs --out with a .parquet file or a folder.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Scan one of N disjoint parts, from 0/N to N-1/N, to use N processes.",
            show_default="all",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of images.", show_default="all")] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Maximum number of images per forward pass; large images reduce it.")
    ] = 16,
    device: Device = None,
    dtype: Dtype = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per image.")] = False,
) -> None:
    """Give a verdict on each image: its label, and whether it is flagged as unsafe.

    Folders, archives and Parquet files are read image by image; nothing is extracted.

    Further commands: `holisafe guard train` trains a guard on labelled images, `holisafe guard train-output` its output
    head on labelled answers, and `holisafe guard families` lists the model families that can be guarded. For an image
    of that name, write ./train.

    Exit code 0: every image has a verdict; 1: some have none, and the reason is given; 2: nothing could be done.
    """
    from rich.console import Console

    from holisafe.cli._verdicts import Output, Tally, check_out, parts_of
    from holisafe.errors import ImageError, RunError
    from holisafe.images.sources import ImageSources, Shard
    from holisafe.scan.stream import rows_of

    if resume and out is None:
        raise RunError("--resume needs --out: the file or folder of the scan to resume")
    part = Shard() if shard is None else Shard.parse(shard)
    sources = ImageSources(image, leave_out=[] if out is None else [out, parts_of(out)], shard=part)
    if out is not None:
        check_out(out, resume=resume)
    tally = Tally()
    with progress_line("loading the model", "image", hidden=as_json and Console().is_terminal) as line:
        loaded = _load(model, guard, device, dtype)
        for note in loaded.about.notes(model):
            line.tell(f"note: {note}")
        settings = loaded.settings | {"places": image, "shard": f"{part.index}/{part.count}"}
        output = Output(out, loaded.labels, settings, loaded.about)
        line.advance(0, limit)
        with until_interrupted() as asked, output.open(resume=resume):
            items = islice(sources.items(), limit)
            for row in rows_of(items, loaded.classify, batch_size, is_done=output.is_done):
                output.add(row)
                tally.add(row)
                if as_json:
                    typer.echo(output.line(row))
                line.advance(tally.images, limit)
                if asked():
                    break
    if not as_json and tally.images:
        tally.show(Console(highlight=False), sources.passed_over)
    if out is not None:
        typer.echo(f"{output.rows:,} images are in {out}", err=True)
    if ended_by := asked():
        if out is not None and out.suffix.lower() != ".jsonl":
            typer.echo("add --resume to the same command to scan the rest", err=True)
        if ended_by == signal.SIGTERM:
            raise typer.Exit(128 + signal.SIGTERM)
        raise KeyboardInterrupt
    output.finish()
    if not output.rows and not tally.images and shard is None:
        named = ", ".join(image)
        raise ImageError(f"{named}: no images in there; {sources.passed_over} other files were passed over")
    if tally.without_verdict:
        if as_json:
            typer.echo(f"{tally.without_verdict} of {tally.images} images have no verdict", err=True)
        raise typer.Exit(NO_VERDICT)


@_guard.command("families")
def families(
    as_json: AsJson = False,
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
    table = Table("family", "images separated by", "features", "suite")
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


@dataclass(frozen=True)
class _Loaded:
    """A guarded model: what classifies a batch, what it tells apart, and what its verdicts depend on."""

    classify: Callable[..., Any]
    labels: list[str]
    about: AboutGuard
    settings: dict[str, Any]


def _load(model: str, guard: str | None, device: str | None, dtype: str | None) -> _Loaded:
    from holisafe.cli._verdicts import AboutGuard
    from holisafe.guard import calibration_of, classify_images, guard_of
    from holisafe.guard.classify import classify_batch
    from holisafe.models import load
    from holisafe.scan import DRAWINGS_ONLY

    check_device(device)
    guarded, processor = load(model, device=device, dtype=dtype, guard=guard or "own")
    classify_images(guarded, [], processor=processor)  # refuses a guard that has nothing to say of images
    calibration = calibration_of(guarded)
    is_calibrated = calibration.flag_rate is not None or calibration.records > 0
    labels = list(guard_of(guarded).config.labels)
    settings = {"model": model, "guard": guard or "own", "labels": labels, "calibration": calibration.to_json()}
    return _Loaded(
        lambda batch: classify_batch(guarded, batch, processor=processor),
        labels,
        AboutGuard(is_calibrated, "drawings" if model in DRAWINGS_ONLY else None),
        settings,
    )


def check_device(device: str | None) -> None:
    """Refuse a GPU that is not there before anything is loaded.

    Raises:
        ModelError: torch does not know the device, or cannot use it here.
    """
    if device is None:
        return
    import torch

    from holisafe.errors import ModelError

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"--device {device} cannot be used here ({reason}); leave it out, or use cpu") from None


@contextmanager
def until_interrupted() -> Iterator[Callable[[], int]]:
    """Tells which signal asked for an end (0: none), so that what is written is whole; a second one ends at once."""
    asked = 0

    def ask(number: int, _: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = number

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
