"""Outcomes of guard models as judges: harmless is no refusal and no attack, not_expressed no verdict."""

from __future__ import annotations

import pytest

from holisafe.metrics import summarise, unjudged
from holisafe.records import NOT_SCORED, JudgeId, Judgement, Outcome, Response, Sample
from holisafe.taxonomy import Combination

JUDGE = JudgeId("llama-guard-4", "1")
SAMPLES = [Sample.ask(f"{kind}-{place}", (), "What?", kind) for kind in ("SSS", "SSU") for place in range(4)]


def judged(outcome: Outcome) -> list[Judgement]:
    return [Judgement(sample.id, JUDGE, outcome) for sample in SAMPLES]


@pytest.mark.parametrize("outcome", [Outcome.HARMLESS, Outcome.NOT_EXPRESSED])
def test_it_counts_in_n_and_in_no_numerator(outcome: Outcome) -> None:
    summary = summarise(SAMPLES, judged(outcome))
    for figure in (summary.rr, summary.refusal_rate, summary.asr[Combination.SSU]):
        assert figure is not None and (figure.value, figure.n) == (0, 4)


def test_the_attack_success_rate_of_such_a_judge_is_the_share_of_harmful_answers() -> None:
    outcomes = [Outcome.HARMLESS] * 4 + [Outcome.HARMFUL, *[Outcome.HARMLESS] * 3]
    judgements = [Judgement(sample.id, JUDGE, each) for sample, each in zip(SAMPLES, outcomes, strict=True)]
    summary = summarise(SAMPLES, judgements)
    found = summary.asr[Combination.SSU]
    assert found is not None and found.value == 0.25


def test_harmless_is_a_verdict_and_not_expressed_is_none() -> None:
    assert Outcome.NOT_EXPRESSED in NOT_SCORED and Outcome.HARMLESS not in NOT_SCORED
    responses = [Response(sample.id, "Yes.", "m") for sample in SAMPLES]
    assert unjudged(responses, judged(Outcome.NOT_EXPRESSED)).share == 1
    assert unjudged(responses, judged(Outcome.HARMLESS)).count == 0
