"""`holisafe scan`: verdicts on a corpus of images, resumable, on one machine or on many."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson, Device, Dtype
from holisafe.cli._progress import ProgressLine, progress_line
from holisafe.cli.guard import NO_VERDICT, FirstWordGroup, check_device, until_interrupted

if TYPE_CHECKING:
    from holisafe.images.sources import Shard
    from holisafe.scan import Scanner


class Engine(StrEnum):
    """What runs the scan."""

    LOCAL = "local"
    RAY = "ray"


class Keep(StrEnum):
    """What is kept beside verdicts."""

    FEATURES = "features"


_scan = typer.Typer(cls=FirstWordGroup, rich_markup_mode=None, help="Give verdicts on a corpus of images.")


def register(app: typer.Typer) -> None:
    """Add `scan` and `scan summary`."""
    app.add_typer(_scan, name="scan")


@_scan.command("images", no_args_is_help=True)
def images(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Folder, tar shard (img2dataset's layout), Parquet file with a column of images, fsspec URL of any of "
            "these (s3://bucket/shards/*.tar), or hf:PATH[:CONFIG][@SPLIT], a data set that is streamed.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the rows, in Parquet.", show_default="needed, but for --plan")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="pocket or pocket-safe (they know drawings only), a folder with a checkpoint, or a Hub id.",
            show_default="pocket; with --from-features, the model of that scan",
        ),
    ] = None,
    guard: Annotated[
        str | None, typer.Option(help="Folder or Hub id of the guard.", show_default="the model's own")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="local: this process; ray: actors of Ray Data.")] = Engine.LOCAL,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Ray, and --plan: actors, one CPU each.", show_default="all CPUs but one; --plan: 1"),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray: address of a running cluster, such as auto.", show_default="Ray is started here"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Scan one of N disjoint parts, from 0/N to N-1/N.", show_default="all"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted scan.")] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="With --resume: scan images again that have no verdict.")
    ] = False,
    keep: Annotated[
        Keep | None,
        typer.Option(
            help="Keep the mean of each image's projector features (float16), for --from-features.", show_default="none"
        ),
    ] = None,
    from_features: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Judge the features that a scan kept by another --guard; images are not read.",
            show_default="none",
        ),
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of images of a data set that is streamed.", show_default="all of them")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what the scan would take, measured on a few images; write nothing.")
    ] = False,
    price_per_hour: Annotated[
        float | None,
        typer.Option(min=0, metavar="MONEY", help="For --plan: price of an hour of one worker.", show_default="none"),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Maximum number of images per forward pass; large images reduce it.")
    ] = 16,
    device: Device = None,
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    r"""Give a verdict on each image of a corpus, in Parquet: label, distribution, digest, or why there is none.

    Whatever ends a scan, the same command with --resume scans the rest. `holisafe scan summary DIR` says what was
    found. For a few images, use `holisafe guard`.

    Exit code 0: every image has a verdict; 1: some have none, and their rows say why; 2: nothing could be done.

    \b
    Example:
      holisafe scan photos/ --out verdicts --keep features
      holisafe scan summary verdicts
    """
    from holisafe.errors import RunError
    from holisafe.images.sources import Shard
    from holisafe.scan import Scanner

    part = Shard() if shard is None else Shard.parse(shard)
    check_device(device)
    if retry_errors and not resume:
        raise RunError("--retry-errors needs --resume")
    if engine is Engine.LOCAL and (ray_address or (workers and not plan)):
        raise RunError(
            "--workers and --ray-address need --engine ray; without Ray, use --shard i/n in several processes"
        )
    if from_features is not None:
        _check_from_features(source, out, guard, keep, engine, plan)
        assert out is not None
        scanner = Scanner(model or _model_of(from_features), guard or "own", device, dtype, batch_size)
        _judge_again(from_features, scanner, out, part, resume, as_json)
        return
    if not source:
        raise RunError("no SOURCE; name folders, shards, Parquet files or URLs, or give --from-features")
    _check_out(source, out)
    scanner = Scanner(model or "pocket", guard or "own", device, dtype, batch_size, features=keep is Keep.FEATURES)
    if plan:
        _plan(source, part, image_column, scanner, workers or 1, price_per_hour, as_json)
        return
    if out is None:
        raise RunError("--out is missing: the folder for the rows")
    if engine is Engine.RAY:
        given = (source, part, image_column, scanner, out, resume, retry_errors, as_json)
        _run_on_ray(*given, workers, ray_address)
    else:
        _run_here(source, part, image_column, scanner, out, resume, retry_errors, as_json)


@_scan.command("summary")
def summary(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out of `holisafe scan`, with all its shards.")],
    out: Annotated[Path | None, typer.Option(help="The page.", show_default="DIR/_summary.html")] = None,
    near: Annotated[int, typer.Option(min=0, help="Images near the threshold to list.")] = 48,
    each: Annotated[int, typer.Option(min=0, help="Images to show of each label.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Say what a scan found: counts, shares with intervals, images near the threshold, and a page of blurred images.

    Exit code 0: the scan is complete and every image has a verdict; 1: not so.
    """
    from holisafe.cli._scan_tables import show_summary
    from holisafe.scan.folder import ScanFolder
    from holisafe.scan.page import write_page
    from holisafe.scan.summary import default_page, summarise_scan

    found = summarise_scan(ScanFolder.read(folder), near=near, each=each)
    page = out or default_page(folder)
    write_page(found, page)
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        show_summary(found)
    typer.echo(f"the page is {page}, its figures are {page.with_suffix('.json')}", err=True)
    if found.scan.missing or found.without_verdict:
        raise typer.Exit(NO_VERDICT)


def _run_here(
    source: list[str],
    part: Shard,
    column: str | None,
    scanner: Scanner,
    out: Path,
    resume: bool,
    retry_errors: bool,
    as_json: bool,
) -> None:
    from holisafe.scan import PartsFolder, Units, scan_here
    from holisafe.scan.folder import DONE, finish, shard_folder
    from holisafe.scan.rows import row_schema

    folder = shard_folder(out, part)
    units = Units(source, leave_out=[out], shard=part, column=column)
    with progress_line("loading the model", "image", hidden=False) as line:
        settings = _settings(scanner, source, part, "local")
        _tell_notes(scanner, line)
        schema = row_schema(scanner.labels(), key=True, features=scanner.features)
        parts = PartsFolder(folder, scanner.labels(), settings, schema=schema)
        with until_interrupted() as asked, parts.open(resume=resume):
            if retry_errors:
                line.tell(f"{parts.forget_errors():,} images without a verdict are scanned again")
            (folder / DONE).unlink(missing_ok=True)
            for done, _ in enumerate(scan_here(units, scanner, parts, asked), 1):
                line.advance(done)
    _stop_if(asked(), out)
    _check_images(folder, part, units.passed_over)
    finish(folder, {"passed_over": units.passed_over})
    _tell_end(folder, units.passed_over, as_json)


def _run_on_ray(
    source: list[str],
    part: Shard,
    column: str | None,
    scanner: Scanner,
    out: Path,
    resume: bool,
    retry_errors: bool,
    as_json: bool,
    workers: int | None,
    address: str | None,
) -> None:
    from holisafe.scan import Units
    from holisafe.scan.folder import DONE, finish, shard_folder
    from holisafe.scan.on_ray import forget_errors, scan_on_ray
    from holisafe.scan.rows import row_schema

    folder = shard_folder(out, part)
    units = Units(source, leave_out=[out], shard=part, column=column)
    with progress_line("loading the model", "image", hidden=False) as line:
        settings = _settings(scanner, source, part, "ray")
        _tell_notes(scanner, line)
        schema = row_schema(scanner.labels(), key=True, features=scanner.features)

        def begin() -> None:
            if retry_errors:
                line.tell(f"{forget_errors(folder):,} images without a verdict are scanned again")
            (folder / DONE).unlink(missing_ok=True)

        gpus = 1.0 if (scanner.device or "").startswith("cuda") else 0.0
        line.stage("starting Ray")
        with _counted(folder, line):
            scan_on_ray(
                units,
                scanner,
                folder,
                settings,
                schema,
                resume=resume,
                workers=workers,
                address=address,
                gpus=gpus,
                on_begin=begin,
            )
    _check_images(folder, part, units.passed_over)
    finish(folder, {"passed_over": units.passed_over})
    _tell_end(folder, units.passed_over, as_json)


def _judge_again(kept: Path, scanner: Scanner, out: Path, part: Shard, resume: bool, as_json: bool) -> None:
    from dataclasses import replace

    from holisafe.scan import PartsFolder
    from holisafe.scan.features import check_same_vision, rescan
    from holisafe.scan.folder import DONE, ScanFolder, finish, shard_folder
    from holisafe.scan.rows import row_schema

    scan = ScanFolder.read(kept)
    folder = shard_folder(out, part)
    with progress_line("loading the model", "image", hidden=False) as line:
        check_same_vision(scan, scanner)
        for shard in scan.missing:
            line.tell(f"note: shard {shard} of {kept} is not complete; only what it holds is judged")
        mine = replace(scan, parts=tuple(path for place, path in enumerate(scan.parts) if part.has(place)))
        settings = _settings(scanner, scan.places, part, "features") | {
            "features_of": scan.settings.get("vision_sha256"),
            "parts": len(mine.parts),
        }
        _tell_notes(scanner, line)
        parts = PartsFolder(folder, scanner.labels(), settings, schema=row_schema(scanner.labels(), key=True))
        with until_interrupted() as asked, parts.open(resume=resume):
            (folder / DONE).unlink(missing_ok=True)
            done = 0
            for table in rescan(mine, scanner, parts, asked):
                done += table.num_rows
                line.advance(done)
    _stop_if(asked(), out)
    if not scan.missing:
        finish(folder, {})
    _tell_end(folder, 0, as_json)
    if scan.missing:
        typer.echo(f"{folder} is not complete either: finish {kept}, then judge it into another --out", err=True)
        raise typer.Exit(NO_VERDICT)


def _plan(
    source: list[str],
    part: Shard,
    column: str | None,
    scanner: Scanner,
    workers: int,
    price: float | None,
    as_json: bool,
) -> None:
    from holisafe.cli._scan_tables import show_estimate
    from holisafe.scan import Units
    from holisafe.scan.estimate import estimate

    with progress_line("listing the source and scanning a few images", "image", hidden=False):
        found = estimate(Units(source, shard=part, column=column), scanner, workers, price)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        show_estimate(found)


def _settings(scanner: Scanner, source: list[str], part: Shard, engine: str) -> dict[str, Any]:
    return scanner.settings() | {"places": source, "shard": f"{part.index}/{part.count}", "engine": engine}


def _model_of(kept: Path) -> str:
    from holisafe.scan.folder import ScanFolder

    return str(ScanFolder.read(kept).settings.get("model"))


def _check_out(source: list[str], out: Path | None) -> None:
    """Rows among the images would be read as images when the scan resumes."""
    from holisafe.errors import RunError

    same = None if out is None else next((place for place in source if Path(place).absolute() == out.absolute()), None)
    if same is not None:
        raise RunError(f"--out {out} is where the images are; choose another folder, which may lie in it")


def _check_from_features(
    source: list[str] | None, out: Path | None, guard: str | None, keep: Keep | None, engine: Engine, plan: bool
) -> None:
    from holisafe.errors import RunError

    if source or keep or plan or engine is Engine.RAY:
        raise RunError("--from-features reads a scan, in this process: leave out SOURCE, --keep, --plan and --engine")
    if out is None or guard is None:
        raise RunError("--from-features needs --guard, the guard that judges, and --out, a folder for its rows")


def _tell_notes(scanner: Scanner, line: ProgressLine) -> None:
    from holisafe.cli._verdicts import AboutGuard

    about = scanner.about()
    for note in AboutGuard(about["calibrated"], about.get("made_for")).notes(scanner.model):
        line.tell(f"note: {note}")
    line.advance(0)


def _stop_if(ended_by: int, out: Path) -> None:
    """Leave with the exit code of a signal that was given."""
    if not ended_by:
        return
    typer.echo(f"add --resume to the same command to scan the rest into {out}", err=True)
    if ended_by == signal.SIGTERM:
        raise typer.Exit(128 + signal.SIGTERM)
    raise KeyboardInterrupt


def _check_images(folder: Path, part: Shard, passed_over: int) -> None:
    """Refuse a source without images; a part of one may have none."""
    from holisafe.errors import ImageError
    from holisafe.scan.folder import ScanFolder

    if part.count == 1 and not ScanFolder.read(folder).parts:
        raise ImageError(
            f"no images in there; {passed_over:,} other files were passed over. Once there are, the same command with "
            "--resume scans them"
        )


def _tell_end(folder: Path, passed_over: int, as_json: bool) -> None:
    """Say how many rows there are, and end with exit code 1 where one has no verdict."""
    from holisafe.cli._scan_tables import counts_of
    from holisafe.scan.folder import ScanFolder

    counts = counts_of(ScanFolder.read(folder).parts)
    if as_json:
        typer.echo(json.dumps({"out": str(folder), **counts, "passed_over": passed_over}))
    else:
        typer.echo(
            f"{counts['images']:,} images, {counts['flagged']:,} flagged, {counts['without_verdict']:,} without a "
            f"verdict, {passed_over:,} other files passed over; rows are in {folder}"
        )
    if counts["without_verdict"]:
        typer.echo("`holisafe scan summary` lists the reasons; --resume --retry-errors tries these again", err=True)
        raise typer.Exit(NO_VERDICT)


@contextmanager
def _counted(folder: Path, line: ProgressLine) -> Iterator[None]:
    """Show how many rows Ray has written, every two seconds."""
    ended = Event()
    thread = Thread(target=_count, args=(folder, line, ended.wait), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _count(folder: Path, line: ProgressLine, wait: Callable[[float], bool]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from holisafe.scan.on_ray import written_files

    rows: dict[Path, int] = {}
    while not wait(2.0):
        try:
            for path in written_files(folder):
                if path not in rows:
                    rows[path] = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException):
            continue  # written meanwhile
        if rows:
            line.advance(sum(rows.values()))
