"""`holisafe judge`: list judges, measure one against labels by people, and compare judges on recorded answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson, Judges, MaxRetries, Timeout
from holisafe.cli._plan import Budget, OnlyPriceIn, OnlyPriceOut, PlanOnly, print_plan, tell_retirements, tell_spent
from holisafe.cli._unjudged import FallbackJudge, JudgeModel

if TYPE_CHECKING:
    from holisafe.datasets.human_labels import LabelledAnswer
    from holisafe.records import Outcome

RECORD = Path("judge-records") / "anchors.json"

ALIASES = {"published": "holisafe"}
"""Names that `judge bridge` takes for a judge."""

KEYS = ("name", "identity", "needs", "reads", "asks_model", "outcomes", "cannot_express", "measured")
"""Of an entry of `judge list --json`; null where the judge cannot be made without parameters."""

SHOWN = 5  # answers listed; --json has all

_judge = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, validate and compare judges.")


def register(app: typer.Typer) -> None:
    """Add `judge` and its commands."""
    app.add_typer(_judge, name="judge")


@_judge.command("list")
def list_judges(as_json: AsJson = False) -> None:
    """List judges by name.

    Each with its version, what it reads, its outcomes, its measured error, and what a guard model cannot express.
    """
    from holisafe import judges
    from holisafe.cli._judge_tables import print_judges

    described = [_describe(name) for name in judges.names()]
    if as_json:
        typer.echo(json.dumps({"judges": described}))
        return
    print_judges(described)


@_judge.command()
def validate(
    judge: Annotated[str, typer.Argument(metavar="JUDGE", help="Name of the judge.")],
    labels: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE",
            help="Answers with labels: CSV, JSON, JSON Lines or a Label Studio export, with id, text, label, and "
            "annotator, model, cluster where there are several; or Inspect's precomputed scores, one file per "
            "annotator. May be given more than once.",
        ),
    ],
    answers: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Run, log or prediction file with the answers that precomputed scores are about.",
            show_default="none",
        ),
    ] = None,
    outcome: Annotated[str, typer.Option(help="Outcome of which the rate is measured.")] = "refused",
    adjudicator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Annotator whose label decides.", show_default="none")
    ] = None,
    judge_model: JudgeModel = None,
    fallback_judge: FallbackJudge = None,
    plan: PlanOnly = False,
    judge_price_in: OnlyPriceIn = None,
    judge_price_out: OnlyPriceOut = None,
    budget: Budget = None,
    max_retries: MaxRetries = 5,
    timeout: Timeout = 300,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep a model's judgements there as they come; the same command resumes.",
            show_default="kept nowhere",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a judge against labels by people, and correct its rates.

    Answers without a label are what the rates are about. A judge's model is shown the answers, with their requests
    where these are known, and no images.
    """
    from holisafe.datasets.human_labels import read_labels

    answered = None if answers is None else _answers(answers)
    read = read_labels(labels, answered)
    about: dict[str, Any] = {"outcome": _outcome(outcome), "adjudicator": adjudicator}
    if judge_model is None and fallback_judge is None and budget is None and not plan:
        from holisafe import judges
        from holisafe.judges.validation import validate

        found, spending = validate(judges.get(judge), read, **about), None  # imports no Inspect
    else:
        from holisafe.bench import Prices, plan_validation, recorded_spending, validate_judge, validation_journal

        prices = Prices(judge_input=judge_price_in, judge_output=judge_price_out)
        asking: dict[str, Any] = {"judge_model": judge_model, "fallback_judge": fallback_judge, "out": out}
        asking |= {"prices": prices, "budget": budget}
        tell_retirements(None, judge_model)
        if plan:
            print_plan(plan_validation(judge, read, **asking), as_json)
            return
        found = validate_judge(judge, read, **about, **asking, max_retries=max_retries, timeout=timeout)
        kept = validation_journal(out, read)
        spending = None if kept is None else recorded_spending(kept, prices)
        tell_spent(spending)
    if as_json:
        typer.echo(json.dumps({**found.to_json(), "spending": spending}))
        return
    from holisafe.cli._judge_tables import print_validation

    print_validation(found, SHOWN)


@_judge.command()
def anchors(
    judge: Annotated[str, typer.Argument(metavar="JUDGE", help="Name of the judge.")],
    judge_model: JudgeModel = None,
    fallback_judge: FallbackJudge = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The record; made by the first check.")] = RECORD,
    noise: Annotated[float, typer.Option(min=0, max=0.5, help="Share of verdicts that may change by chance.")] = 0.02,
    as_json: AsJson = False,
) -> None:
    """Judge 50 fixed answers again: has the judge drifted?

    The first check of a judge is recorded. Later ones are compared with it, and more changes than chance explains end
    with the exit code 1.
    """
    from holisafe.bench import check_anchors
    from holisafe.cli._anchors import told

    (found,) = check_anchors([judge], out, judge_model=judge_model, fallback_judge=fallback_judge, noise=noise)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        typer.echo(told(found, out))
        for name, before, now in found.changed:
            typer.echo(f"  {name}: {before} before, {now} now")
    if found.alarm:
        raise typer.Exit(1)


@_judge.command()
def bridge(
    predictions: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recorded answers, one file per model, to one data set.")
    ],
    judge: Judges = None,
    data: Annotated[str | None, typer.Option(help="Data set, path or Hub id that the answers belong to.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of --data.", show_default="all")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare judges on recorded answers: rates of each model side by side, agreement, and rankings.

    Without --judge: `holisafe` and `refusal`. `published` is another name of `holisafe` here.
    """
    from holisafe.cli._bridge import measure_bridge

    names = list(dict.fromkeys(ALIASES.get(name, name) for name in judge or ["published", "refusal"]))
    found = measure_bridge(predictions, names, data, split)
    if as_json:
        typer.echo(json.dumps(found))
        return
    from holisafe.cli._judge_tables import print_bridge

    print_bridge(found)


def _describe(name: str) -> dict[str, Any]:
    """A judge's identity, and what it needs beside the answer: found by asking it without a model."""
    from holisafe import judges
    from holisafe.errors import JudgeError, MissingDependencyError, RegistryError
    from holisafe.judges.guard_models import ModelGuard
    from holisafe.records import Outcome, Response, Sample

    try:
        made = judges.get(name)
        tried = judges.judge_all(made, [Sample.ask("s", (), "", None)], [Response("s", "Yes, in small pieces.", "")])
    except (JudgeError, MissingDependencyError, RegistryError) as error:
        missing = re.search(r"required positional argument: '(\w+)'", str(error))
        needs = f"arguments: {name}:{missing[1].upper()}" if missing else " ".join(str(error).split())
        return {**dict.fromkeys(KEYS), "name": name, "needs": needs}
    known = judges.about(made)
    lacks = tried[0].outcome in (Outcome.ERROR, Outcome.NOT_EXPRESSED)
    needs = tried[0].rationale if lacks else "the answer alone"
    if judges.asks_model(made):
        needs = f"a model: {'NAME:SOURCE, or --judge-model' if isinstance(made, ModelGuard) else '--judge-model'}"
    return {
        "name": name,
        "identity": made.id.to_json(),
        "needs": needs,
        "reads": known.reads,
        "asks_model": known.asks_model,
        "outcomes": known.outcomes,
        "cannot_express": known.cannot_express,
        "measured": judges.measured_error(made.id),
    }


def _answers(place: Path) -> list[LabelledAnswer]:
    """The answers of a run, a log or a prediction file; failures are none."""
    from holisafe.datasets import read_predictions
    from holisafe.datasets.human_labels import LabelledAnswer
    from holisafe.metrics import cluster_name
    from holisafe.records.folder import is_run

    if is_run(place):
        from holisafe.bench import read_run

        found = read_run(place)
        samples, responses, model = found.samples, found.responses, found.name
    else:
        loaded = read_predictions(place)
        samples, responses, model = loaded.samples, loaded.responses, place.stem
    return [
        LabelledAnswer(sample.id, response.text, model, str(cluster_name(sample)), request=sample.query)
        for sample, response in zip(samples, responses, strict=True)
        if response.error is None
    ]


def _outcome(name: str) -> Outcome:
    from holisafe.datasets.human_labels import LABELS
    from holisafe.errors import UnknownNameError

    found = {label.value: label for label in LABELS}.get(name.strip().lower())
    if found is None:
        raise UnknownNameError("outcome", name, LABELS)
    return found
