"""`holisafe score`: apply judges to recorded answers."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe._printable import encodable
from holisafe.cli import _anchors
from holisafe.cli._options import AsJson, Judges, MaxRetries, Timeout
from holisafe.cli._plan import (
    Budget,
    OnlyPriceIn,
    OnlyPriceOut,
    PlanOnly,
    print_plan,
    tell_retirements,
    tell_spent,
)
from holisafe.cli._questions import asked_questions, default_judges
from holisafe.cli._rejudge import Asking, run_json, score_recorded, shown_summaries
from holisafe.cli._unjudged import FallbackJudge, JudgeModel, MaxUnjudged, checked, judged_json, require_verdicts
from holisafe.records import MAX_UNJUDGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holisafe.bench import Prices
    from holisafe.datasets import Loaded, Problem
    from holisafe.judges import Judge
    from holisafe.metrics import Summary
    from holisafe.records import Judgement

SHOWN = 5  # problems told one by one; the rest are counted


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("score")(score)


def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run, an Inspect log (.eval), or a file of recorded answers (JSON, JSON Lines, CSV or "
            "Parquet), each in the field `prediction` of its record. With --data, the fields `id` and `prediction` "
            "suffice, and sample logs of lmms-eval and tables of VLMEvalKit (xlsx, tsv) are read.",
        ),
    ],
    judge: Judges = None,
    judge_model: JudgeModel = None,
    fallback_judge: FallbackJudge = None,
    max_unjudged: MaxUnjudged = MAX_UNJUDGED,
    plan: PlanOnly = False,
    judge_price_in: OnlyPriceIn = None,
    judge_price_out: OnlyPriceOut = None,
    budget: Budget = None,
    max_retries: MaxRetries = 5,
    timeout: Timeout = 300,
    anchors: _anchors.Anchors = None,
    data: Annotated[
        str | None, typer.Option(help="Data set, path or Hub id that the answers belong to; joined by id.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of --data.", show_default="all")] = None,
    setting: Annotated[
        str | None, typer.Option(help="Variant of a benchmark's prompt.", show_default="the benchmark's first")
    ] = None,
    by_category: Annotated[bool, typer.Option(help="Print a table by category too.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the judged run, which `holisafe report` reads.", show_default="RUN where it is a folder"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge recorded answers and print rates with intervals.

    The model is not asked. A record without an answer counts, as an error. A broken record is left out and reported.
    In a run, only what a judge has not judged yet is judged; the judgements of other judges stay.
    """
    from holisafe import judges
    from holisafe._files import hold
    from holisafe.bench import Prices, plan_score, read_run
    from holisafe.benchmarks import benchmark_record
    from holisafe.datasets import read_predictions
    from holisafe.errors import DataError, RunError
    from holisafe.metrics import summarise
    from holisafe.records.folder import is_run

    questions = None if data is None else asked_questions(data, split, setting)
    _tell(questions.problems if questions else ())
    samples = None if questions is None else list(questions.samples)
    about = read_run(predictions).samples if samples is None and not judge and is_run(predictions) else samples
    chosen = [judges.get(name) for name in dict.fromkeys(judge or default_judges(about))]
    if fallback_judge is not None:
        chosen = judges.with_fallbacks(chosen, judges.get(fallback_judge))
    prices = Prices(judge_input=judge_price_in, judge_output=judge_price_out)
    asking = Asking(judge_model=judge_model, prices=prices, budget=budget, max_retries=max_retries, timeout=timeout)
    if is_run(predictions):
        if data is not None or split is not None:
            raise DataError(f"{predictions} is a run, which says what was asked; leave out --data and --split")
        tell_retirements(None, judge_model)
        if plan:
            options: dict[str, Any] = {"judge_model": judge_model, "out": out, "prices": prices, "budget": budget}
            print_plan(plan_score(predictions, chosen, **options), as_json)
            return
        drift = _anchors.check(anchors, judge or [], judge_model, fallback_judge)
        measured = score_recorded(predictions, chosen, out, **asking)
        tell_spent(measured.provenance.get("spending"))
        shown = shown_summaries(measured, chosen, max_unjudged)
        judged = {one.id.name: measured.judgements[one.id.name] for one in chosen}
        of_benchmark = benchmark_record(measured.samples, measured.responses, judged, max_unjudged)
        found = {**run_json(predictions, out, measured, shown), "benchmark": of_benchmark}
        _print(shown, by_category, found if as_json else None, of_benchmark)
        _anchors.conclude(drift, out or (predictions if predictions.is_dir() else None))
        require_verdicts(judged, measured.responses)
        return
    loaded = read_predictions(predictions, samples)
    _tell(loaded.problems)
    _tell_left_out(predictions, loaded, of_data=samples is not None)
    if not loaded.samples:
        raise DataError(
            f"{predictions}: every record is broken; `holisafe data validate {predictions}` says what is wrong"
        )
    if all(response.error is not None for response in loaded.responses):
        raise DataError(
            f"{predictions}: none of {len(loaded.samples)} records has an answer that could be scored; "
            "expected the model's text in the field 'prediction'"
        )
    tell_retirements(None, judge_model)
    if plan:
        from holisafe.bench import plan_judging

        kept = None if out is None else _journal(out, loaded)
        asked = (chosen, loaded.samples, loaded.responses, judge_model)
        print_plan(plan_judging(*asked, journal=kept, prices=prices, budget=budget), as_json)
        return
    drift = _anchors.check(anchors, judge or [], judge_model, fallback_judge)
    with contextlib.nullcontext() if out is None else hold(out, RunError):
        judged = _judged(chosen, loaded, out, asking)
        spending = _spending(loaded, judge_model, out, prices)
        tell_spent(spending)
        summaries = [summarise(loaded.samples, judgements) for judgements in judged.values()]
        shown = checked(summaries, loaded.responses, judged, max_unjudged)
        of_benchmark = benchmark_record(loaded.samples, loaded.responses, judged, max_unjudged)
        versions = {one.id.name: one.id.version for one in chosen}
        if out is not None:
            settings = {"data": data, "split": split, "judges": list(versions)}
            provenance = _provenance(predictions, loaded, shown, versions, settings)
            noted = {**_noted(judge_model, spending, max_unjudged), "benchmark": of_benchmark}
            _write(out, predictions, loaded, judged, {**provenance, **noted})
    found = {
        **_to_json(str(predictions), loaded, shown, judged, versions),
        "benchmark": of_benchmark,
        "spending": spending,
    }
    _print(shown, by_category, found if as_json else None, of_benchmark)
    _anchors.conclude(drift, out)
    require_verdicts(judged, loaded.responses)


def _print(
    shown: Sequence[Summary],
    by_category: bool,
    found: Mapping[str, Any] | None,
    of_benchmark: Mapping[str, Any] | None = None,
) -> None:
    """One JSON object where it is asked for, else tables."""
    if found is not None:
        typer.echo(json.dumps(found))
        return
    from holisafe.cli._benchmark_tables import print_benchmark
    from holisafe.cli._tables import print_groups, print_summaries
    from holisafe.records import CATEGORY_TAG

    print_summaries(shown)
    if by_category:
        for summary in shown:
            print_groups(summary, CATEGORY_TAG)
    print_benchmark(of_benchmark)


def _judged(
    chosen: Sequence[Judge],
    loaded: Loaded,
    out: Path | None,
    asking: Asking,
) -> dict[str, tuple[Judgement, ...]]:
    """The judgements by judge; with a model and --out, each is kept as it comes, and only what is missing is asked."""
    from holisafe import judges

    if asking["judge_model"] is None:
        chosen = [judges.with_model(one, None) for one in chosen]
        return {one.id.name: judges.judge_all(one, loaded.samples, loaded.responses) for one in chosen}
    from holisafe.bench import judge_with_model

    journal = None
    if out is not None:
        journal = _journal(out, loaded)
        typer.echo(f"judgements are kept in {journal} as they come; the same command resumes", err=True)
    return judge_with_model(chosen, loaded.samples, loaded.responses, journal=journal, **asking)


def _spending(loaded: Loaded, judge_model: str | None, out: Path | None, prices: Prices) -> dict[str, Any] | None:
    """What the judging has cost, as far as it was kept."""
    if out is None or judge_model is None:
        return None
    from holisafe.bench import recorded_spending

    return recorded_spending(_journal(out, loaded), prices)


def _journal(out: Path, loaded: Loaded) -> Path:
    return out / f"judging-{_digest(loaded)}.jsonl"


def _digest(loaded: Loaded) -> str:
    """Digest of questions and answers: what was judged of others does not count."""
    import hashlib

    from holisafe.datasets import fingerprint
    from holisafe.records.as_json import response_to_json

    answers = json.dumps([response_to_json(response) for response in loaded.responses])
    return hashlib.sha256((fingerprint(loaded.samples) + answers).encode()).hexdigest()[:12]


def _write(
    out: Path,
    predictions: Path,
    loaded: Loaded,
    judged: Mapping[str, tuple[Judgement, ...]],
    provenance: Mapping[str, Any],
) -> None:
    """The run folder, with those of the images that can be read."""
    from holisafe.errors import ImageError
    from holisafe.images import read_bytes
    from holisafe.records import Run
    from holisafe.records.folder import write_run

    images: dict[str, bytes] = {}
    for ref in (ref for sample in loaded.samples for ref in sample.images):
        if ref.digest and ref.digest not in images:
            with contextlib.suppress(ImageError):
                images[ref.digest] = read_bytes(ref)
    write_run(Run(_name(predictions, loaded), loaded.samples, loaded.responses, judged, provenance), out, images)


def _provenance(
    predictions: Path,
    loaded: Loaded,
    summaries: Sequence[Summary],
    versions: Mapping[str, str],
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    from datetime import UTC, datetime

    from holisafe import __version__
    from holisafe.datasets import fingerprint

    digest = fingerprint(loaded.samples)
    return {
        "holisafe": __version__,
        **_origin(loaded),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "predictions": encodable(str(predictions)),
        "model": {"id": _name(predictions, loaded)},
        "settings": {"model": _name(predictions, loaded), "data_sha256": digest, **settings},
        "data": {
            "name": settings["data"] or encodable(str(predictions)),
            "split": settings["split"],
            "sha256": digest,
            "samples": len(loaded.samples),
            "left_out_as_broken": loaded.broken_records,
        },
        "judges": dict(versions),
        "errors": sum(response.error is not None for response in loaded.responses),
        "summaries": {summary.judge: summary.to_json() for summary in summaries},
    }


def _noted(judge_model: str | None, spending: Mapping[str, Any] | None, max_unjudged: float) -> dict[str, Any]:
    """What figures are withheld by, what the judging cost, and retirements to warn of."""
    from datetime import UTC, datetime

    from holisafe.bench import retirements

    found = retirements(None, judge_model, datetime.now(UTC).date())
    noted = {"max_unjudged": max_unjudged, "retirements": [each.to_json() for each in found]}
    return noted if spending is None else {**noted, "spending": spending}


def _name(predictions: Path, loaded: Loaded) -> str:
    """The model as another tool's log names it; else as the file is called."""
    return encodable(str(loaded.origin.get("model") or predictions.stem))


def _origin(loaded: Loaded) -> dict[str, Any]:
    """What another tool's log says of itself; the token limit where reports look for it."""
    return {
        **({"imported": dict(loaded.origin)} if loaded.origin else {}),
        **({"generation": loaded.origin["generation"]} if "generation" in loaded.origin else {}),
    }


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems[:SHOWN]:
        typer.echo(f"{problem.level}: {problem}", err=True)
    if len(problems) > SHOWN:
        typer.echo(f"and {len(problems) - SHOWN} more problems; holisafe data validate lists them all", err=True)


def _tell_left_out(file: Path, loaded: Loaded, *, of_data: bool) -> None:
    """Say how many samples the figures lack: records that are broken, or samples without an answer."""
    from holisafe.datasets import Level

    broken = sum(problem.level is Level.BROKEN for problem in loaded.problems)
    missing = sum(response.error is not None for response in loaded.responses)
    if broken and not of_data:
        typer.echo(f"broken records, left out of every figure: {broken}", err=True)
    if missing and of_data:
        typer.echo(
            f"{missing} of {len(loaded.samples)} samples have no answer in {file} and count as errors; if fewer were "
            "asked, name their --split, or give --data a file of those samples",
            err=True,
        )


def _to_json(
    file: str,
    loaded: Loaded,
    summaries: Sequence[Summary],
    judgements: Mapping[str, tuple[Judgement, ...]],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    judged = {
        summary.judge: {
            **judged_json(summary, loaded.responses, judgements[summary.judge]),
            "judge_version": versions[summary.judge],
        }
        for summary in summaries
    }
    return {
        "predictions": file,
        "samples": len(loaded.samples),
        "broken": loaded.broken_records,
        "errors": sum(response.error is not None for response in loaded.responses),
        **next(iter(judged.values())),
        "judges": judged,
    }
