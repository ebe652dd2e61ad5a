"""What the commands that measure a model share: progress, troubles, figures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holisafe._printable import printable
from holisafe.cli._progress import ProgressLine, progress_line
from holisafe.cli._unjudged import checked, judged_json
from holisafe.records import MAX_UNJUDGED

if TYPE_CHECKING:
    from holisafe.metrics import Summary
    from holisafe.records import Run


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say, when interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"the answers so far are kept in {folder}; the same command resumes the run", err=True)
        raise


@contextlib.contextmanager
def show_progress() -> Iterator[ProgressLine]:
    """A line on standard error: samples done, rate, time left."""
    with progress_line("loading the model", "sample") as line:
        yield line


def tell_cost(cost: Mapping[str, float] | None) -> None:
    """Say on standard error what an answer took on average, where a defence led to it."""
    if cost:
        typer.echo(
            f"per request, on average: {cost['generations']:.2f} generations, {cost['passes']:.1f} forward passes",
            err=True,
        )


def tell_requests(line: ProgressLine) -> Callable[[int, int], None]:
    """What shows on that line how many requests wait for an answer, and how many were tried again so far."""

    def tell(waiting: int, retries: int) -> None:
        if not line.is_counting:
            line.stage("asking")
        line.note(f"{waiting} waiting" + (f", {retries} retries" if retries else ""))

    return tell


def tell_verdicts(line: ProgressLine) -> Callable[[str, int, int], None]:
    """What shows on that line how many requests a guard model has seen."""

    def tell(guard: str, done: int, total: int) -> None:
        line.stage(f"guard {printable(guard)}", done, total)

    return tell


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
    for judge, judgements in measured.judgements.items():
        if without := sum(bool(each.details.get("without_schema")) for each in judgements):
            typer.echo(
                f"judge {printable(judge)}: the server refused the schema of the reply; {without} answers were judged "
                "without it",
                err=True,
            )


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


def to_json(measured: Run, model: str, folder: Path, max_unjudged: float = MAX_UNJUDGED) -> dict[str, Any]:
    """The documented object of `--json` (docs/json.md): the first judge's figures, and those of all judges."""
    versions = measured.provenance["judges"]
    judged = {
        summary.judge: {
            **judged_json(summary, measured.responses, measured.judgements[summary.judge]),
            "judge_version": versions[summary.judge],
        }
        for summary in _summaries(measured, max_unjudged)
    }
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
        "spending": measured.provenance.get("spending"),
        "guards": measured.provenance.get("guard_rates"),
        "benchmark": measured.provenance.get("benchmark"),
    }


def _summaries(measured: Run, max_unjudged: float) -> list[Summary]:
    """Each judge's figures, withheld where too many answers have no verdict."""
    from holisafe.metrics import Summary

    found = [Summary.from_json(summary) for summary in measured.provenance["summaries"].values()]
    return checked(found, measured.responses, measured.judgements, max_unjudged)


def print_figures(measured: Run, max_unjudged: float = MAX_UNJUDGED) -> None:
    """On standard output: each judge's headline figures, the first's by category, a benchmark's own, a guard's."""
    from holisafe.cli._benchmark_tables import print_benchmark
    from holisafe.cli._tables import print_groups, print_guards, print_policies, print_summaries
    from holisafe.records import CATEGORY_TAG

    summaries = _summaries(measured, max_unjudged)
    print_summaries(summaries)
    print_groups(summaries[0], CATEGORY_TAG)
    print_benchmark(measured.provenance.get("benchmark"))
    guard = measured.provenance.get("guard_findings")
    if guard is not None and summaries[0].judge in guard["policies"]:
        print_policies(guard, summaries[0].judge)
    if rates := measured.provenance.get("guard_rates"):
        print_guards(rates)
