"""Judges on the answers of a recorded run: what `holisafe score RUN` does."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import typer

from holisafe.cli._progress import progress_line
from holisafe.cli._runs import resumable
from holisafe.cli._unjudged import checked, judged_json

if TYPE_CHECKING:
    from holisafe.bench import Prices
    from holisafe.judges import Judge
    from holisafe.metrics import Summary
    from holisafe.records import Run


class Asking(TypedDict):
    """How judges ask their model, and what they may spend: keywords of `score_run` and `judge_with_model`."""

    judge_model: str | None
    prices: Prices
    budget: float | None
    max_retries: int
    timeout: int


def score_recorded(
    place: Path,
    chosen: Sequence[Judge],
    out: Path | None,
    **asking: Unpack[Asking],
) -> Run:
    """The run with judgements of these judges; says where they are kept, and how far they are."""
    from holisafe.bench import score_run

    kept = out or (place if place.is_dir() else None)
    names = ", ".join(one.id.name for one in chosen)
    where = f"into {kept}" if kept else "kept nowhere: give --out FOLDER to keep them"
    typer.echo(f"judging the answers of {place} by {names}; {where}", err=True)
    with resumable(kept) if kept else contextlib.nullcontext(), progress_line("reading the run", "judgement") as line:
        return score_run(place, chosen, out=out, progress=line.advance, **asking)


def shown_summaries(judged: Run, chosen: Sequence[Judge], max_unjudged: float) -> list[Summary]:
    """The figures of these judges, withheld where too many answers have no verdict."""
    from holisafe.metrics import summarise

    judgements = {one.id.name: judged.judgements[one.id.name] for one in chosen}
    summaries = [summarise(judged.samples, found) for found in judgements.values()]
    return checked(summaries, judged.responses, judgements, max_unjudged)


def run_json(place: Path, out: Path | None, judged: Run, summaries: Sequence[Summary]) -> dict[str, Any]:
    """The documented object of `--json` (docs/json.md)."""
    found = {
        summary.judge: {
            **judged_json(summary, judged.responses, judged.judgements[summary.judge]),
            "judge_version": judged.judgements[summary.judge][0].judge.version,
        }
        for summary in summaries
    }
    return {
        "run": str(place),
        "out": str(out) if out else str(place) if place.is_dir() else None,
        "samples": len(judged.samples),
        "errors": sum(response.error is not None for response in judged.responses),
        **next(iter(found.values())),
        "judges": found,
        "spending": judged.provenance.get("spending"),
    }
