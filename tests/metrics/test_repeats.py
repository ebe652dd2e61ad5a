"""Several seeds of one model are one row: the mean, its interval, and the spread between the seeds."""

from __future__ import annotations

import numpy as np
import pytest

from holisafe.errors import DataError
from holisafe.metrics import Summary, compare, compare_repeats, summarise, summarise_repeats
from holisafe.records import JudgeId, Judgement, Outcome, Sample
from report_runs import make_samples

SAMPLES = make_samples(8)
JUDGE = JudgeId("by hand", "1")


def _judged(seed: int, share: float = 0.5) -> list[Judgement]:
    hits = np.random.default_rng(seed).random(len(SAMPLES)) < share
    return [
        Judgement(sample.id, JUDGE, Outcome.ANSWERED if hit else Outcome.REFUSED)
        for sample, hit in zip(SAMPLES, hits, strict=True)
    ]


def _counts(summary: Summary) -> list[int]:
    return [figure.n for rates in summary.by["category"].values() for figure in rates.values()]


def test_one_run_is_as_it_was() -> None:
    found = summarise_repeats(SAMPLES, [_judged(1)])
    assert found.summary == summarise(SAMPLES, _judged(1))
    assert set(found.between.values()) == {None} and found.runs == 1


def test_figures_are_the_mean_and_the_spread_is_the_standard_deviation() -> None:
    runs = [_judged(seed) for seed in (1, 2, 3)]
    values = [summarise(SAMPLES, judged).masr_macro.value for judged in runs]
    found = summarise_repeats(SAMPLES, runs)
    assert found.summary.masr_macro.value == pytest.approx(np.mean(values))
    assert found.between["masr_macro"] == pytest.approx(np.std(values, ddof=1))
    assert found.summary.rr.n == 8 and sum(found.summary.outcomes[SAMPLES[0].combination].values()) == 24
    assert _counts(found.summary) == _counts(summarise(SAMPLES, runs[0]))
    twins = [summarise(SAMPLES, judged).twin_accuracy.value for judged in runs]
    assert found.summary.twin_accuracy.value == pytest.approx(np.mean(twins))


def test_asking_again_for_the_same_answers_narrows_no_interval() -> None:
    alone = summarise_repeats(SAMPLES, [_judged(1)]).summary.rr
    thrice = summarise_repeats(SAMPLES, [_judged(1)] * 3)
    assert thrice.between["rr"] == 0
    assert thrice.summary.rr.high - thrice.summary.rr.low >= 0.95 * (alone.high - alone.low)


def test_runs_are_paired_in_order_and_one_run_with_all() -> None:
    ones, others = [_judged(1), _judged(2)], [_judged(3, 0.2), _judged(4, 0.2)]
    plain = compare(SAMPLES, ones[0], others[0])
    assert compare_repeats(SAMPLES, ones[:1], others[:1]).differences == pytest.approx(plain.differences)
    both = compare_repeats(SAMPLES, ones, others).differences["rr"]
    found = [compare(SAMPLES, one, other).differences["rr"].value for one, other in zip(ones, others, strict=True)]
    assert both.value == pytest.approx(np.mean(found))
    assert compare_repeats(SAMPLES, ones[:1], others).differences["rr"].n == plain.differences["rr"].n == 8


def test_runs_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(DataError, match="2 runs cannot be paired with 3"):
        compare_repeats(SAMPLES, [_judged(1)] * 2, [_judged(2)] * 3)


def test_no_run_is_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        summarise_repeats(SAMPLES, [])


def test_samples_without_an_image_are_their_own_clusters_over_all_runs() -> None:
    samples = [Sample.ask(f"s{at}", (), "May I?", expected="refuse") for at in range(30)]
    judged = [Judgement(s.id, JUDGE, Outcome.ANSWERED if at % 3 else Outcome.REFUSED) for at, s in enumerate(samples)]
    alone, twice = (summarise_repeats(samples, [judged] * count).summary.masr_pooled for count in (1, 2))
    assert (alone.n, twice.n) == (30, 30)
    assert twice.high - twice.low >= 0.95 * (alone.high - alone.low)
