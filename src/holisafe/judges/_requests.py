"""What judges will ask their model, known before it is asked: for a plan of calls and tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holisafe.errors import JudgeError
from holisafe.judges._fallback import _WithFallback
from holisafe.judges._registry import Judge, _WithParameters
from holisafe.judges.asked import AskedJudge
from holisafe.judges.asked._request import typical_reply
from holisafe.judges.guard_models import Guard, ModelGuard
from holisafe.judges.panels import Cascade, Panel
from holisafe.records import Response, Sample, Turn


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a judge's model.

    Attributes:
        turns: What is sent; empty where the judge does not say.
        reply: A reply of common length; empty where none is known.
        max_tokens: Most tokens of the reply; None where the judge does not say.
    """

    turns: tuple[Turn, ...] = ()
    reply: str = ""
    max_tokens: int | None = None


def asks_model(judge: Judge) -> bool:
    """Whether a judge asks a model."""
    return bool(getattr(judge, "needs_model", False))


def requests_of(judge: Judge, sample: Sample, response: Response) -> list[Request]:
    """The calls that a judgement takes, at most, by all members of a panel or a cascade that ask a model.

    Args:
        judge: The judge.
        sample: What was asked.
        response: What was answered, or a text of the expected length in its place.
    """
    found = []
    for each in _asking(judge):
        if isinstance(each, ModelGuard):
            found += _of_guard(each, sample, response)
            continue
        if not isinstance(each, AskedJudge):
            found.append(Request())
            continue
        try:
            turns = each.turns(sample, response)
        except JudgeError:  # it ends in an error before the model is asked
            continue
        found.append(Request(tuple(turns), typical_reply(each.declaration.fields), each.declaration.max_tokens))
    return found


def requests_of_guard(guard: Guard, sample: Sample) -> list[Request]:
    """The calls that a verdict on one request takes; none where the guard cannot express any."""
    return _of_guard(guard, sample, None) if isinstance(guard, ModelGuard) else [Request()]


def _of_guard(guard: ModelGuard, sample: Sample, response: Response | None) -> list[Request]:
    return [Request(question.turns, "", guard.model.max_tokens) for question in guard.questions(sample, response)]


def _asking(judge: Judge) -> Iterator[Judge]:
    """The judge, or what it is made of, where that asks a model."""
    match judge:
        case Panel() | Cascade():
            for member in judge.members:
                yield from _asking(member)
        case _WithFallback():
            yield from _asking(judge.first)
        case _WithParameters():
            yield from _asking(judge.judge_without)
        case _ if asks_model(judge):
            yield judge
