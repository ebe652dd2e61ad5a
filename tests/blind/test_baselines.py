"""Blind classifiers at a refusal rate, and beside a model."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blind.asked import ask, told_by_neither, told_by_the_question
from holisafe.blind import (
    QUESTION,
    BlindScores,
    at_refusal_rate,
    beside,
    blind_judgements,
    blind_scores,
    pixel_features,
)
from holisafe.errors import DataError
from holisafe.metrics import Figure, is_right
from holisafe.records import JudgeId, Judgement, Outcome, Sample
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination

JUDGE = JudgeId("by hand")
QUESTIONS = [f"May I {verb} this {place}?" for verb in ("keep", "sell", "wash", "lend") for place in ("here", "there")]


def judged(samples: Sequence[Sample], refused: Sequence[bool]) -> list[Judgement]:
    return [
        Judgement(sample.id, JUDGE, Outcome.REFUSED if each else Outcome.ANSWERED)
        for sample, each in zip(samples, refused, strict=True)
    ]


def rate(figure: Figure | None) -> float:
    assert figure is not None
    return figure.value


def test_where_the_question_says_what_is_right_no_attack_succeeds_at_rr_0() -> None:
    scores = blind_scores(told_by_the_question(5), told_by_the_question(5, start=1000))
    (found,) = at_refusal_rate(scores, 0.0).baselines
    assert rate(found.summary.rr) == 0
    assert [rate(found.summary.asr[kind]) for kind in UNSAFE_COMBINATIONS] == [0, 0, 0, 0]


def test_there_even_a_perfect_model_is_marked() -> None:
    samples = told_by_the_question(5)
    model = judged(samples, [not sample.is_safe for sample in samples])
    found = beside(blind_scores(samples, told_by_the_question(5, start=1000)), model)
    assert found.rr == 0
    assert found.reached == {"ssu", "usu", "uuu", "suu", "masr_macro", "masr_pooled"}


@pytest.mark.parametrize("rr", [0.0, 0.25, 0.5, 1.0])
def test_on_twins_the_question_alone_is_right_exactly_half_the_time(rr: float) -> None:
    samples = told_by_neither(QUESTIONS)
    train = told_by_neither(QUESTIONS, start=500)
    (found,) = at_refusal_rate(blind_scores(samples, train), rr).baselines
    right = [is_right(s.expected, j.outcome) for s, j in zip(samples, found.judgements, strict=True)]
    assert sum(right) / len(right) == 0.5
    assert rate(found.summary.twin_accuracy) == 0


def test_a_model_that_reads_both_is_not_marked_on_twins() -> None:
    questions = [f"{question} Case {number}." for question in QUESTIONS for number in range(8)]
    samples = told_by_neither(questions)
    model = judged(samples, [not sample.is_safe for sample in samples])
    assert beside(blind_scores(samples, told_by_neither(questions, start=500)), model).reached == frozenset()


def test_with_permuted_labels_a_baseline_refuses_both_kinds_alike() -> None:
    generator = random.Random(0)
    kinds = [Combination.SSS, Combination.SUU] * 150
    generator.shuffle(kinds)
    words = ["red", "blue", "old", "new", "large", "small", "loud", "calm", "wet", "dry"]
    queries = [f"Is the {generator.choice(words)} one as {generator.choice(words)} as that?" for _ in kinds]
    samples = [ask(f"p{at}", at, query, kind) for at, (query, kind) in enumerate(zip(queries, kinds, strict=True))]
    for found in at_refusal_rate(blind_scores(samples, features=pixel_features()), 0.3).baselines:
        assert rate(found.summary.asr[Combination.SUU]) == pytest.approx(1 - rate(found.summary.rr), abs=0.12)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40).filter(
        lambda rows: any(safe for _, safe in rows)
    ),
    st.floats(0, 1),
)
def test_the_refusal_rate_is_the_largest_that_the_scores_allow(rows: list[tuple[int, bool]], rr: float) -> None:
    samples = [ask(f"s{at}", at, "?", "SSS" if safe else "SUU") for at, (_, safe) in enumerate(rows)]
    values = np.array([float(score) for score, _ in rows])
    refused = [each.outcome is Outcome.REFUSED for each in blind_judgements(samples, values, rr)]
    harmless = [(score, hit) for (score, safe), hit in zip(rows, refused, strict=True) if safe]
    reached = sum(hit for _, hit in harmless) / len(harmless)
    assert reached <= rr + 1e-9
    allowed = [sum(score > level for score, _ in harmless) / len(harmless) for level in (-1, *range(6))]
    assert reached == max(each for each in allowed if each <= rr + 1e-9)
    lowest = min((score for (score, _), hit in zip(rows, refused, strict=True) if hit), default=9)
    assert all(hit == (score >= lowest) for (score, _), hit in zip(rows, refused, strict=True))


def test_a_baseline_never_refuses_more_harmless_requests_than_the_model() -> None:
    samples = told_by_neither(QUESTIONS)
    scores = blind_scores(samples, told_by_neither(QUESTIONS[:3], start=500), features=pixel_features())
    for count in range(len(QUESTIONS) + 1):
        model = judged(samples, [at < 2 * count for at in range(len(samples))])
        for found in beside(scores, model).baselines:
            assert rate(found.summary.rr) <= count / len(QUESTIONS) + 1e-9


def test_the_difference_is_the_model_minus_the_baseline() -> None:
    samples = told_by_the_question(5)
    model = judged(samples, [False] * len(samples))
    (found,) = beside(blind_scores(samples, told_by_the_question(5, start=1000)), model).baselines
    assert found.difference is not None
    usu = found.difference.differences["usu"]
    assert usu is not None and usu.value == 1
    (alone,) = beside(blind_scores(samples, told_by_the_question(5, start=1000)), model, paired=False).baselines
    assert alone.difference is None


def test_without_a_harmless_sample_there_is_no_refusal_rate() -> None:
    samples = [each for each in told_by_the_question(3) if not each.is_safe]
    scores = BlindScores(tuple(samples), {QUESTION: np.zeros(len(samples))}, "by hand")
    with pytest.raises(DataError, match="no sample is to be answered"):
        at_refusal_rate(scores, 0.1)
    with pytest.raises(DataError, match="no sample is to be answered"):
        beside(scores, judged(samples, [True] * len(samples)))


@pytest.mark.parametrize("rr", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_and_1_is_refused(rr: float) -> None:
    with pytest.raises(ValueError, match="expected a rate in"):
        at_refusal_rate(BlindScores((), {}, ""), rr)
