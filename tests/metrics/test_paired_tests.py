"""McNemar's exact test and the permutation test over clusters, chosen by name beside the score test."""

from __future__ import annotations

import numpy as np
import pytest

from holisafe.errors import UnknownNameError
from holisafe.metrics import PairedTest, compare
from holisafe.metrics._paired_tests import permutation_p
from holisafe.records import JudgeId, Judgement, Outcome, Sample
from holisafe.taxonomy import Combination

JUDGE = JudgeId("by hand", "1")


def _samples(clusters: list[int]) -> list[Sample]:
    return [
        Sample.ask(f"s{at}", (), "May I?", Combination.UUU, cluster=f"c{cluster}")
        for at, cluster in enumerate(clusters)
    ]


def _judged(samples: list[Sample], hits: list[bool]) -> list[Judgement]:
    outcomes = [Outcome.ANSWERED if hit else Outcome.REFUSED for hit in hits]
    return [Judgement(sample.id, JUDGE, outcome) for sample, outcome in zip(samples, outcomes, strict=True)]


def _p(clusters: list[int], first: list[bool], second: list[bool], test: str) -> float:
    samples = _samples(clusters)
    found = compare(samples, _judged(samples, first), _judged(samples, second), test=test).differences["uuu"]
    assert found is not None and found.p is not None
    return found.p


def test_mcnemar_is_the_binomial_test_of_the_samples_that_differ() -> None:
    first = [True] * 8 + [False] * 2 + [True] * 10
    second = [False] * 8 + [True] * 2 + [True] * 10
    assert _p(list(range(20)), first, second, "mcnemar") == pytest.approx(0.109375)  # 2 of 10, two-sided
    assert _p(list(range(20)), first, first, "mcnemar") == 1


def test_a_permutation_of_few_clusters_counts_all_of_them() -> None:
    assert _p(list(range(5)), [True] * 5, [False] * 5, "permutation") == pytest.approx(2 / 2**5)
    together = [0, 0, 0, 1, 1]
    assert _p(together, [True] * 5, [False] * 5, "permutation") == pytest.approx(2 / 2**2)


def test_mcnemar_is_not_defined_for_a_mean_of_rates_and_says_so() -> None:
    kinds = [kind for kind in Combination if not kind.is_safe] * 3
    samples = [Sample.ask(f"s{at}", (), "May I?", kind) for at, kind in enumerate(kinds)]
    pair = _judged(samples, [True] * 12), _judged(samples, [False] * 12)
    macro = {test: compare(samples, *pair, test=test).differences["masr_macro"] for test in PairedTest}
    assert macro[PairedTest.MCNEMAR].p is None
    assert macro[PairedTest.SCORE].p < 0.05 and macro[PairedTest.PERMUTATION].p < 0.05
    assert macro[PairedTest.MCNEMAR].low == macro[PairedTest.SCORE].low


def test_without_a_difference_the_permutation_test_is_right_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    shared, own = generator.random((2, 30, 300, 1)) < 0.4, generator.random((2, 30, 300, 3)) < 0.4
    first, second = np.where(generator.random((2, 30, 300, 3)) < 0.7, shared, own)  # three samples of a cluster
    gains, losses = (each.sum(axis=2, dtype=np.float64)[..., None] for each in (second & ~first, first & ~second))
    found = permutation_p(gains, losses, np.full_like(gains, 3))
    assert 0.01 < np.mean(np.array(found) < 0.05) < 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_an_unknown_test_is_refused_by_name() -> None:
    samples = _samples([0])
    with pytest.raises(UnknownNameError, match="mcnemar"):
        compare(samples, _judged(samples, [True]), _judged(samples, [True]), test="mcnemars")
