"""`holisafe blind`: how far a classifier gets that sees only the question, or only the image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holisafe._printable import encodable, printable

if TYPE_CHECKING:
    from holisafe.records import Run

RR = 0.05


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("blind")(blind)


def blind(
    data: Annotated[str, typer.Argument(help="Name of a data set, a path, or a Hub id.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Split to score; if not given, the run's, else test where there is a train split too, else all."
        ),
    ] = None,
    rr: Annotated[
        float | None,
        typer.Option(min=0, max=1, help=f"Refusal rate of the baselines; {RR} if not given.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run folder or .eval log on these data: the baselines get its refusal rate.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Recorded answers to these data, as holisafe score takes them; joined by id."),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="With --predictions: judge, holisafe if not given; may be given more than once."),
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            help="How images are seen: pixels, a model (its visual tokens), none, or auto: Pocket where installed, "
            "else pixels."
        ),
    ] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the figures on standard output.")
    ] = False,
) -> None:
    """Measure what question alone, or image alone, gives away.

    Blind baselines are classifiers that decide to refuse and see nothing else. They are trained on the train split, or
    cross-validated by image where there is none, and set to the refusal rate of the model beside them. A result that
    one of them reaches, within its interval, is marked †: the data cannot tell that model from a blind one.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from holisafe.blind import blind_baselines

    given = [
        name for name, value in (("--rr", rr), ("--run", run), ("--predictions", predictions)) if value is not None
    ]
    if len(given) > 1:
        raise typer.BadParameter(f"{' and '.join(given)} exclude each other; each sets the refusal rate")
    if judge and predictions is None:
        raise typer.BadParameter("judges are for --predictions; a run has its own")
    beside = _read(run, predictions, data, split, judge or ["holisafe"])
    found = blind_baselines(data, split, rr=RR if rr is None else rr, run=beside, features=features)
    for note in found.notes:
        typer.echo(f"note: {printable(note)}", err=True)
    if as_json:
        typer.echo(json.dumps(found.to_json()))
        return
    from holisafe.cli._blind_table import print_blind, print_blind_differences

    for result in found.results:
        print_blind(result, found.training, beside.name if beside else "")
        print_blind_differences(result, beside.name if beside else "")


def _read(run: Path | None, predictions: Path | None, data: str, split: str | None, judges: list[str]) -> Run | None:
    """The judged answers to stand beside; None where there are none."""
    if run is not None:
        from holisafe.bench import read_run

        return read_run(run)
    if predictions is None:
        return None
    from holisafe import judges as judging
    from holisafe.datasets import load, read_predictions
    from holisafe.errors import DataError
    from holisafe.records import Run

    chosen = [judging.get(name) for name in dict.fromkeys(judges)]
    loaded = read_predictions(predictions, load(data, split))
    if all(response.error is not None for response in loaded.responses):
        raise DataError(f"{predictions}: no record has an answer; expected the model's text in the field 'prediction'")
    judged = {one.id.name: tuple(judging.judge_all(one, loaded.samples, loaded.responses)) for one in chosen}
    return Run(encodable(predictions.stem), loaded.samples, loaded.responses, judged, {"data": {"split": split}})
