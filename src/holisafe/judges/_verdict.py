"""A judge's verdict on a response, whatever became of either."""

from __future__ import annotations

from holisafe.errors import JudgeError
from holisafe.judges._registry import Judge
from holisafe.records import Outcome, Response, Sample, Verdict


def verdict_of(judge: Judge, sample: Sample, response: Response) -> Verdict:
    """The judge's verdict; an answer or a verdict that could not be had is an error, and counted as one."""
    if response.error is not None:
        return Verdict(sample.id, judge.name, Outcome.ERROR, response.error)
    try:
        return judge.judge(sample, response)
    except JudgeError as error:
        return Verdict(sample.id, judge.name, Outcome.ERROR, str(error))
