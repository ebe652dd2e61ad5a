"""Judging responses, whatever becomes of the judge."""

from __future__ import annotations

from holisafe.judges import Ask, judge_all
from holisafe.records import JudgeId, Judgement, Outcome, Response, Sample


class Broken:
    id = JudgeId("broken", "1")

    async def judge(self, sample: Sample, response: Response, ask: Ask | None = None) -> Judgement:
        raise ZeroDivisionError("no share of nothing")


def test_a_judge_that_fails_on_a_sample_is_an_error_of_that_sample() -> None:
    sample = Sample.ask("a", (), "What?", "SUU")
    (found,) = judge_all(Broken(), [sample], [Response("a", "Yes.", "model")])
    assert (found.outcome, found.rationale) == (Outcome.ERROR, "ZeroDivisionError: no share of nothing")
