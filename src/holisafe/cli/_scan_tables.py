"""What `holisafe scan` shows: counts, a summary, an estimate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from holisafe.cli._terminal import plain_line

if TYPE_CHECKING:
    from holisafe.metrics import Figure
    from holisafe.scan.estimate import Estimate
    from holisafe.scan.summary import ScanSummary

SHOWN = 20
"""Images near the threshold, and reasons, that are shown in a terminal."""


def counts_of(parts: Iterable[Path]) -> dict[str, int]:
    """Images, flagged ones and those without a verdict."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts = {"images": 0, "flagged": 0, "without_verdict": 0}
    for part in parts:
        table = pq.read_table(part, columns=["flagged", "error"])
        counts["images"] += table.num_rows
        counts["flagged"] += pc.sum(table["flagged"]).as_py() or 0
        counts["without_verdict"] += table.num_rows - table["error"].null_count
    return counts


def show_summary(summary: ScanSummary) -> None:
    """On standard output: outcomes with shares, images near the threshold, reasons."""
    from rich.console import Console
    from rich.table import Table

    from holisafe.scan.summary import FLAGGED, NO_VERDICT

    console = Console(highlight=False)
    table = Table("outcome")
    for column in ("images", "of them flagged", "% of all (95 % interval)"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_row("flagged", f"{summary.flagged:,}", f"{summary.flagged:,}", _share(summary.shares.get(FLAGGED)))
    for label, count in summary.labels.items():
        flagged = summary.flagged_labels.get(label, 0)
        table.add_row(label.replace("_", " "), f"{count:,}", f"{flagged:,}", _share(summary.shares.get(label)))
    table.add_row("no verdict", f"{summary.without_verdict:,}", "", _share(summary.shares.get(NO_VERDICT)))
    console.print(table)
    if summary.near:
        console.print("Nearest to the threshold:")
    for each in summary.near[:SHOWN]:
        sign = "≥" if each.unsafe >= each.threshold else "<"
        console.print(
            f"  {plain_line(each.image)}: {each.label.replace('_', ' ')}, P(unsafe) {each.unsafe:.3f} {sign} "
            f"{each.threshold:.3f}",
            soft_wrap=True,
        )
    if summary.errors:
        console.print("Images without a verdict, by reason:")
    first = {error: image for image, error in reversed(summary.by_image)}
    for error, count in summary.errors[:SHOWN]:
        named = f" ({'such as ' if count > 1 else ''}{plain_line(first[error])})" if error in first else ""
        console.print(f"  {count:,}: {plain_line(error)}{named}", soft_wrap=True)
    same = "" if summary.distinct is None else f", {summary.distinct:,} with different bytes"
    console.print(f"{summary.images:,} images{same}")
    if summary.scan.missing:
        console.print(f"not complete: shard {', '.join(summary.scan.missing[:SHOWN])}; --resume scans the rest")


def show_estimate(found: Estimate) -> None:
    """On standard output: what a scan would take, and what that rests on."""
    images = "unknown" if found.images is None else f"{'' if found.is_counted else 'about '}{found.images:,}"
    typer.echo(f"files and groups of images: {found.units:,}, {found.bytes / 2**20:,.1f} MiB")
    typer.echo(f"images: {images}")
    speed = "unknown" if found.images_per_s is None else f"{found.images_per_s:,.1f} images/s"
    typer.echo(f"speed of one worker: {speed}, measured on {found.sampled} images")
    if found.seconds is not None:
        if found.workers == 1:
            typer.echo(f"time with 1 worker: {_time(found.seconds)}")
        else:
            typer.echo(
                f"time with {found.workers} workers: {_time(found.seconds)}, where they do not hinder each other"
            )
    if found.money is not None:
        typer.echo(f"money: {found.money:,.2f}")
    typer.echo("Nothing was written.")


def _share(figure: Figure | None) -> str:
    return "" if figure is None else f"{100 * figure.value:.2f} ({100 * figure.low:.2f}–{100 * figure.high:.2f})"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
