"""What the commands that measure a model share: progress, troubles, figures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe._printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from holisafe.records import Run


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"the answers so far are kept in {folder}; the same command resumes the run", err=True)
        raise


class RunProgress:
    """Shows samples done, rate and time left on standard error, and requests that wait or were tried again.

    Call it with the number done and the number in all. Where standard error is no terminal, it prints a line per tenth.
    """

    def __init__(self, bar: Progress) -> None:
        """Show progress on `bar`."""
        self._bar = bar
        self._task = bar.add_task("", total=None, rate="loading the model", waiting="")
        self._told = 0
        self._retries = 0

    def __call__(self, done: int, total: int) -> None:
        """Tell how many samples are done."""
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")
        if not self._bar.console.is_terminal and (done - self._told >= total / 10 or done == total):
            self._told = done
            retried = f" ({self._retries} retries)" if self._retries else ""
            self._bar.console.print(f"{done} of {total} samples{retried}")

    def requests(self, waiting: int, retries: int) -> None:
        """Tell how many requests wait for an answer, and how many were tried again so far."""
        self._retries = retries
        shown = f"{waiting} waiting" + (f", {retries} retries" if retries else "")
        self._bar.update(self._task, waiting=shown)


@contextlib.contextmanager
def show_progress() -> Iterator[RunProgress]:
    """A line on standard error that fits 80 columns: count, rate, time left, then requests."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[waiting]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield RunProgress(bar)


def tell_troubles(measured: Run, data: str) -> None:
    """Say on standard error what was left out or ended in an error."""
    left_out = measured.provenance["data"]["left_out_as_broken"]
    if left_out:
        typer.echo(f"{left_out} broken records were left out; `holisafe data validate {data}` lists them", err=True)
    failed = [response for response in measured.responses if response.error is not None]
    if failed:
        first = printable(failed[0].error or "")
        typer.echo(f"{len(failed)} of {len(measured.samples)} samples ended in an error, e.g. {first}", err=True)

    _tell_no_answers(measured)


def _tell_no_answers(measured: Run) -> None:
    """Say how many responses hold no answer: the published protocol counts them as answered."""
    from holisafe.judges import no_answer

    found = [why for why in map(no_answer, measured.responses) if why]
    if found:
        typer.echo(
            f"{len(found)} of {len(measured.samples)} responses hold no answer, e.g. {printable(found[0])}; the judge "
            "holisafe counts them as answered, as the published protocol does",
            err=True,
        )


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
