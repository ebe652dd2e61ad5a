"""`holisafe score`: apply judges to recorded answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holisafe.datasets import Loaded, Problem
    from holisafe.metrics import Summary

SHOWN = 5  # problems told one by one; the rest are counted


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("score")(score)


def score(
    predictions: Annotated[
        Path, typer.Argument(help="Recorded answers: the released format with each record's answer in `prediction`.")
    ],
    judge: Annotated[list[str] | None, typer.Option(help="Judge; may be given more than once.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data set, path or Hub id the answers belong to: brings twins, topics and image clusters."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of that data set.")] = None,
    by_category: Annotated[bool, typer.Option(help="Print the table per category too.")] = True,
    out: Annotated[Path | None, typer.Option(help="Write the JSON object to this file, too.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object with the figures on standard output.")
    ] = False,
) -> None:
    """Judge recorded answers and print the rates with their intervals.

    A record without an answer stays counted, as an error; a broken record is left out and reported.
    """
    from holisafe import judges
    from holisafe.datasets import read_predictions
    from holisafe.errors import DataError
    from holisafe.metrics import summarise

    chosen = [judges.get(name) for name in dict.fromkeys(judge or ["holisafe"])]
    loaded = read_predictions(predictions)
    if data is not None:
        loaded = _with_samples_of(loaded, data, split, str(predictions))
    _tell(loaded.problems)
    if not loaded.samples:
        raise DataError(
            f"{predictions}: every record is broken; `holisafe data validate {predictions}` says what is wrong"
        )
    if all(response.error is not None for response in loaded.responses):
        raise DataError(
            f"{predictions}: none of {len(loaded.samples)} records has an answer that could be scored; "
            "expected the model's text in the field 'prediction'"
        )
    summaries = []
    for one in chosen:
        judgements = judges.judge_all(one, loaded.samples, loaded.responses)
        summaries.append(summarise(loaded.samples, judgements, seed=seed))
    found = _to_json(str(predictions), loaded, summaries, {one.id.name: one.id.version for one in chosen})
    if out is not None:
        out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found))
        return
    from holisafe.cli._tables import print_groups, print_summaries
    from holisafe.records import CATEGORY_TAG

    print_summaries(summaries)
    if by_category:
        for summary in summaries:
            print_groups(summary, CATEGORY_TAG)


def _with_samples_of(loaded: Loaded, data: str, split: str | None, file: str) -> Loaded:
    """The answers with the samples of a data set, joined by id; sample and answer must say the same question.

    Samples of the data set that have no answer stay, as errors, so that leaving out questions cannot better a rate.
    """
    from holisafe.datasets import Level, Loaded, Problem, load
    from holisafe.errors import DataError
    from holisafe.records import Response

    samples = {sample.id: sample for sample in load(data, split)}
    asked = {sample.id: sample.query for sample in loaded.samples}
    answers = {response.sample_id: response for response in loaded.responses}
    problems = list(loaded.problems)
    for name in sorted(asked.keys() - samples.keys()):
        problems.append(
            Problem(file, None, name, "id", repr(name), f"an id of data set {data!r}", "left out", Level.BROKEN)
        )
    others = [name for name, query in asked.items() if name in samples and samples[name].query != query]
    if others:
        raise DataError(
            f"{file}: {len(others)} records ask another question than the sample of {data!r} with the same id "
            f"(first: id {others[0]!r}); score them with the data set they were made from"
        )
    if not asked.keys() & samples.keys():
        raise DataError(f"{file}: no record has an id of data set {data!r}; name the data set they were made from")
    model = next((response.model for response in loaded.responses), "")
    lacking = "no prediction: the file has no record of this id"
    responses = [answers.get(name) or Response(name, "", model, error=lacking) for name in samples]
    return Loaded(tuple(samples.values()), tuple(problems), tuple(responses))


def _tell(problems: Sequence[Problem]) -> None:
    for problem in problems[:SHOWN]:
        typer.echo(f"{problem.level}: {problem}", err=True)
    if len(problems) > SHOWN:
        typer.echo(f"and {len(problems) - SHOWN} more problems; holisafe data validate lists them all", err=True)


def _to_json(file: str, loaded: Loaded, summaries: Sequence[Summary], versions: dict[str, str]) -> dict[str, Any]:
    judged = {summary.judge: {**summary.to_json(), "judge_version": versions[summary.judge]} for summary in summaries}
    return {
        "predictions": file,
        "samples": len(loaded.samples),
        "broken": loaded.broken_records,
        "errors": sum(response.error is not None for response in loaded.responses),
        **next(iter(judged.values())),
        "judges": judged,
    }
