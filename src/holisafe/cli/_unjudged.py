"""Figures of judges that left too many answers without a verdict: withheld, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from holisafe.metrics import Summary
    from holisafe.records import Judgement, Response

MaxUnjudged = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Share of answers without a verdict above which no figures of a judge are printed.",
    ),
]
FallbackJudge = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Judge of the answers on which a judge's model refuses to judge or cannot be read; every verdict names "
        "the judge that gave it.",
        show_default="none",
    ),
]
JudgeModel = Annotated[
    str | None, typer.Option(help="Inspect model that judges may ask, such as openai/gpt-4o-2024-11-20.")
]


def checked(
    summaries: Sequence[Summary],
    responses: Sequence[Response],
    judgements: Mapping[str, Sequence[Judgement]],
    most: float,
) -> list[Summary]:
    """The summaries, without figures where more than `most` of the answers have no verdict; says so."""
    from holisafe._printable import printable
    from holisafe.metrics import unjudged, withheld

    _tell_degenerate(responses)
    shown = []
    for summary in summaries:
        found = unjudged(responses, judgements[summary.judge])
        _tell_givers(summary.judge, judgements[summary.judge])
        if found.share > most:
            listed = ", ".join(f"{count} {outcome}" for outcome, count in found.outcomes.items())
            typer.echo(
                f"judge {printable(summary.judge)}: no figures, because {found.count} of {found.n} answers "
                f"({100 * found.share:.1f} %) have no verdict ({listed}) and --max-unjudged is {100 * most:g} %; judge "
                "them again, name a --fallback-judge, or raise --max-unjudged and read the rates as lower bounds",
                err=True,
            )
            summary = withheld(summary)
        shown.append(summary)
    return shown


def require_verdicts(judgements: Mapping[str, Sequence[Judgement]], responses: Sequence[Response]) -> None:
    """Refuse to call it a success where a judge gave a verdict on no answer at all; after what was found is told.

    Raises:
        JudgeError: There are answers, and a judge has left all of them without a verdict.
    """
    from holisafe._printable import printable
    from holisafe.errors import JudgeError
    from holisafe.metrics import unjudged
    from holisafe.records import NOT_SCORED

    failed = []
    for judge, found in judgements.items():
        left = unjudged(responses, found)
        if left.count and all(each.outcome in NOT_SCORED for each in found):
            listed = ", ".join(f"{count} {outcome}" for outcome, count in left.outcomes.items())
            pairs = zip(responses, found, strict=True)
            why = next((each.rationale for response, each in pairs if response.error is None and each.rationale), "")
            first = f"; the first reason: {printable(why)}" if why else ""
            failed.append(f"judge {printable(judge)} gave no verdict on any of {left.n} answers ({listed}){first}")
    if failed:
        raise JudgeError("; ".join(failed))


def _tell_degenerate(responses: Sequence[Response]) -> None:
    """Say how many answers are not those of a working model."""
    from holisafe.metrics import degenerate

    found = degenerate(responses)
    if found.count:
        typer.echo(
            f"{found.count} of {found.n} answers are not those of a working model ({found.words}); a broken model does "
            "not refuse, so that its attack success rates do not show that it is unsafe: look at the answers",
            err=True,
        )


def judged_json(summary: Summary, responses: Sequence[Response], judgements: Sequence[Judgement]) -> dict[str, Any]:
    """A summary as JSON, with what was left without a verdict, and answers that no working model gives."""
    from holisafe.metrics import degenerate, unjudged

    found = unjudged(responses, judgements)
    return {
        **summary.to_json(),
        "unjudged": {"count": found.count, "n": found.n, "share": found.share},
        "degenerate": degenerate(responses).to_json(),
    }


def _tell_givers(judge: str, judgements: Sequence[Judgement]) -> None:
    """Say how many verdicts each judge gave, where a fallback stood by."""
    from holisafe._printable import printable

    givers = Counter(str(each.details["given_by"]) for each in judgements if "given_by" in each.details)
    if givers:
        listed = ", ".join(f"{printable(name)} {count}" for name, count in givers.most_common())
        typer.echo(f"judge {printable(judge)}: verdicts given by {listed}", err=True)
