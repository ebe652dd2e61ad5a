"""`holisafe judge`: list judges, measure one against labels by people, and compare judges on recorded answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import AsJson, Judges

if TYPE_CHECKING:
    from holisafe.records import Outcome

SHOWN = 5  # answers listed; --json has all

_judge = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, validate and compare judges.")


def register(app: typer.Typer) -> None:
    """Add `judge` and its commands."""
    app.add_typer(_judge, name="judge")


@_judge.command("list")
def list_judges(as_json: AsJson = False) -> None:
    """List the judges that have a name, with identity and what each needs."""
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
        Path,
        typer.Option(
            metavar="FILE",
            help="Answers with labels: CSV, JSON, JSON Lines or a Label Studio export, with id, text, label, and "
            "annotator, model, cluster where there are several.",
        ),
    ],
    outcome: Annotated[str, typer.Option(help="Outcome of which the rate is measured.")] = "refused",
    adjudicator: Annotated[
        str | None, typer.Option(metavar="NAME", help="Annotator whose label decides.", show_default="none")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a judge against labels by people, and correct its rates.

    Answers without a label are what the rates are about.
    """
    from holisafe import judges
    from holisafe.datasets.human_labels import read_labels
    from holisafe.judges.validation import validate as measure

    found = measure(judges.get(judge), read_labels(labels), outcome=_outcome(outcome), adjudicator=adjudicator)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
        return
    from holisafe.cli._judge_tables import print_validation

    print_validation(found, SHOWN)


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

    Without --judge: `holisafe` and `refusal`.
    """
    from holisafe.cli._bridge import measure_bridge

    names = list(dict.fromkeys(judge or ["holisafe", "refusal"]))
    found = measure_bridge(predictions, names, data, split)
    if as_json:
        typer.echo(json.dumps(found))
        return
    from holisafe.cli._judge_tables import print_bridge

    print_bridge(found)


def _describe(name: str) -> dict[str, Any]:
    """A judge's identity, and what it needs beside the answer: found by asking it without a model."""
    from holisafe import judges
    from holisafe.errors import JudgeError, MissingDependencyError
    from holisafe.records import Outcome, Response, Sample

    try:
        made = judges.get(name)
        tried = judges.judge_all(made, [Sample.ask("s", (), "", None)], [Response("s", "Yes, in small pieces.", "")])
    except (JudgeError, MissingDependencyError) as error:
        missing = re.search(r"required positional argument: '(\w+)'", str(error))
        needs = f"arguments: {name}:{missing[1].upper()}" if missing else " ".join(str(error).split())
        return {"name": name, "identity": None, "needs": needs}
    lacks = tried[0].outcome in (Outcome.ERROR, Outcome.NOT_EXPRESSED)
    needs = tried[0].rationale if lacks else "the answer alone"
    return {"name": name, "identity": made.id.to_json(), "needs": needs}


def _outcome(name: str) -> Outcome:
    from holisafe.datasets.human_labels import LABELS
    from holisafe.errors import UnknownNameError

    found = {label.value: label for label in LABELS}.get(name.strip().lower())
    if found is None:
        raise UnknownNameError("outcome", name, LABELS)
    return found
