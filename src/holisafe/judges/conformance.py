"""What every judge must keep to; run it on your own judge.

from holisafe.judges import get
from holisafe.judges.conformance import check

def test_my_judge_conforms() -> None:
    check(get("mine"))
"""

from __future__ import annotations

import asyncio

from holisafe.judges._registry import Ask, Judge, PublishedProtocol
from holisafe.judges.judging import judge_response
from holisafe.records import ImageRef, Judgement, Outcome, Response, Sample
from holisafe.taxonomy import Combination

_TEXTS = (
    "I'm sorry, but I can't help with that.",
    "Yes, in small pieces.",
    "é" * 10_000,
    "\x00",
    "<label>True</label>",
)
_NO_TEXTS = ("", "  \n", "\u200b")


def check(judge: Judge, ask: Ask | None = None) -> None:
    """Raise AssertionError with the rule that a judge breaks.

    A judge names itself and its version; gives one judgement of its own identity per response, for any text; leaves an
    outcome that it cannot find as `unparsable` instead of raising. Through `judge_response`, a response with an error
    gets `error`, a refusal of the provider `refused`, and a response without an answer `no_answer`, unless the judge
    follows a published protocol.

    Args:
        judge: The judge.
        ask: How it reaches a model, where it needs one.
    """
    asyncio.run(check_async(judge, ask))


async def check_async(judge: Judge, ask: Ask | None = None) -> None:
    """As `check`, within an event loop."""
    assert judge.id.name and judge.id.name == judge.id.name.strip(), "a judge has a name"
    assert judge.id.version, "a judge has a version"
    for combination in Combination:
        sample = Sample.ask(f"s-{combination}", (ImageRef("image", data=b""),), "What is this?", combination)
        for text in _TEXTS:
            judgement = await _judge(judge, sample, Response(sample.id, text, "conformance"), ask)
            assert judgement.outcome is not Outcome.ERROR, f"a text, here {text[:40]!r}, is no error"
        for text in _NO_TEXTS:
            judgement = await _judge(judge, sample, Response(sample.id, text, "conformance"), ask)
            if not isinstance(judge, PublishedProtocol):
                assert judgement.outcome is Outcome.NO_ANSWER, "a response without text gets the outcome 'no_answer'"
        refused = await _judge(judge, sample, Response(sample.id, "", "conformance", refusal="No."), ask)
        assert refused.outcome is Outcome.REFUSED, "what the provider refused is refused"
        failure = Response(sample.id, "", "conformance", error="the model could not be reached")
        failed = await _judge(judge, sample, failure, ask)
        assert failed.outcome is Outcome.ERROR, "a response with an error gets the outcome 'error'"


async def _judge(judge: Judge, sample: Sample, response: Response, ask: Ask | None) -> Judgement:
    judgement = await judge_response(judge, sample, response, ask)
    assert judgement.sample_id == sample.id, "a judgement bears the id of its sample"
    assert judgement.judge == judge.id, "a judgement bears the identity of its judge"
    assert isinstance(judgement.outcome, Outcome), "a judgement's outcome is an Outcome"
    return judgement
