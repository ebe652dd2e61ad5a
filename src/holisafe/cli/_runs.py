"""What the commands that measure a model share: progress, troubles, figures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe._printable import printable

if TYPE_CHECKING:
    from holisafe.records import Run


@contextlib.contextmanager
def goes_on(folder: Path) -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"the answers so far are kept in {folder}; the same command goes on from there", err=True)
        raise


@contextlib.contextmanager
def show_progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error with samples per second; a line per tenth where standard error is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("asking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("asking", total=None, rate="loading the model")
        told = 0

        def advance(done: int, total: int) -> None:
            nonlocal told
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.1f} samples/s" if speed else "")
            if not console.is_terminal and (done - told >= total / 10 or done == total):
                told = done
                console.print(f"{done} of {total} samples")

        yield advance


def tell_troubles(measured: Run, data: str) -> None:
    """Say on standard error what was left out or ended in an error."""
    left_out = measured.provenance["data"]["left_out_as_broken"]
    if left_out:
        typer.echo(f"{left_out} broken records were left out; `holisafe data validate {data}` lists them", err=True)
    failed = [response for response in measured.responses if response.error is not None]
    if failed:
        first = printable(failed[0].error or "")
        typer.echo(f"{len(failed)} of {len(measured.samples)} samples ended in an error, e.g. {first}", err=True)


def to_json(measured: Run, model: str, folder: Path) -> dict[str, Any]:
    """The documented object of `--json` (docs/json.md): the first judge's figures, and those of all judges."""
    versions = measured.provenance["judges"]
    summaries = measured.provenance["summaries"]
    judged = {name: {**summary, "judge_version": versions[name]} for name, summary in summaries.items()}
    counts = {
        "samples": len(measured.samples),
        "broken": measured.provenance["data"]["left_out_as_broken"],
        "errors": sum(response.error is not None for response in measured.responses),
    }
    guard = measured.provenance.get("guard_findings")
    return {
        "model": model,
        "out": str(folder),
        **counts,
        **next(iter(judged.values())),
        "judges": judged,
        "guard": guard,
    }


def print_figures(measured: Run) -> None:
    """On standard output: the headline figures of each judge, and the first judge's by category."""
    from holisafe.cli._tables import print_groups, print_summaries
    from holisafe.metrics import Summary
    from holisafe.records import CATEGORY_TAG

    summaries = [Summary.from_json(summary) for summary in measured.provenance["summaries"].values()]
    print_summaries(summaries)
    print_groups(summaries[0], CATEGORY_TAG)
