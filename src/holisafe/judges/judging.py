"""A judge's judgement on responses, whatever became of either."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from holisafe.errors import JudgeError
from holisafe.judges._registry import Ask, Judge
from holisafe.records import Judgement, Outcome, Response, Sample

FILTERED = "content_filter"
"""How an answer ended that the provider stopped."""


async def judge_response(judge: Judge, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
    """The judgement on one response; an answer or a judgement that is missing is an error, and counted as one.

    What a provider's filter stopped is refused, whatever text stands in the answer's place: some give none, some their
    own message.

    Args:
        judge: The judge.
        sample: What was asked.
        response: What was answered.
        ask: How the judge reaches a model, where it needs one.
    """
    if response.error is not None:
        return Judgement(sample.id, judge.id, Outcome.ERROR, response.error)
    if response.finish_reason == FILTERED:
        return Judgement(sample.id, judge.id, Outcome.REFUSED, "stopped by the provider's filter")
    try:
        return await judge.judge(sample, response, ask)
    except JudgeError as error:
        return Judgement(sample.id, judge.id, Outcome.ERROR, str(error))


def judge_all(
    judge: Judge, samples: Sequence[Sample], responses: Sequence[Response], ask: Ask | None = None
) -> tuple[Judgement, ...]:
    """One judgement per response, in order; for callers without an event loop of their own, and within one too."""

    async def every() -> tuple[Judgement, ...]:
        pairs = zip(samples, responses, strict=True)
        return tuple([await judge_response(judge, sample, response, ask) for sample, response in pairs])

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(every())
    found: list[tuple[Judgement, ...]] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(every())))
    thread.start()
    thread.join()
    return found[0]
