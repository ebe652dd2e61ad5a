"""Intervals: coverage on clustered data, and the degenerate cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from holisafe.metrics._bootstrap import interval, resample_rates, resample_sums, wilson
from holisafe.metrics._rates import Sums


def clustered(generator: np.random.Generator, clusters: int, rate: float) -> Sums:
    """Clusters of 1 to 4 samples whose own rates scatter around the overall one (beta-binomial)."""
    sizes = generator.integers(1, 5, size=clusters)
    own = generator.beta(3 * rate, 3 * (1 - rate), size=clusters)
    hits = generator.binomial(sizes, own)
    return Sums(hits[:, None].astype(np.float32), sizes[:, None].astype(np.float32))


def coverage(clusters: int, rate: float, repetitions: int) -> float:
    generator = np.random.default_rng(7)
    held = 0
    for seed in range(repetitions):
        sums = clustered(generator, clusters, rate)
        resampled = resample_rates(sums, resamples=500, seed=seed)
        low, high = interval(sums.rates, resampled, sums.clusters.astype(float))
        held += bool(low[0] <= rate <= high[0])
    return held / repetitions


@pytest.mark.parametrize(("clusters", "rate"), [(200, 0.3), (60, 0.5), (60, 0.15), (15, 0.4)])
def test_nominal_95_percent_covers_about_as_often_on_clustered_data(clusters: int, rate: float) -> None:
    assert 0.90 <= coverage(clusters, rate, 600) <= 0.98


def test_intervals_are_wider_than_if_samples_were_independent() -> None:
    per_cluster = np.repeat([0.0, 4.0], 50)[:, None].astype(np.float32)
    sums = Sums(per_cluster, np.full((100, 1), 4, dtype=np.float32))
    low, high = interval(sums.rates, resample_rates(sums, resamples=2000, seed=0), np.array([100.0]))
    alone_low, alone_high = wilson(sums.rates, np.array([400.0]))
    assert high[0] - low[0] > 1.7 * (alone_high[0] - alone_low[0])


@pytest.mark.parametrize("rate", [0.0, 1.0, 0.5])
def test_clusters_that_all_agree_get_wilsons_interval_over_clusters(rate: float) -> None:
    sums = Sums(np.full((20, 1), 2 * rate, dtype=np.float32), np.full((20, 1), 2, dtype=np.float32))
    low, high = interval(sums.rates, resample_rates(sums, resamples=200, seed=0), np.array([20.0]))
    expected = stats.binomtest(int(20 * rate), 20).proportion_ci(method="wilson")
    assert (low[0], high[0]) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_many_clusters_give_plain_percentiles() -> None:
    generator = np.random.default_rng(0)
    resampled = generator.normal(0.5, 0.01, size=(4000, 1))
    low, high = interval(np.array([0.5]), resampled, np.array([10_000.0]))
    assert (low[0], high[0]) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=1e-4)


def test_few_clusters_widen_the_interval_to_students_with_the_small_sample_factor() -> None:
    resampled = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000, loc=0.5, scale=0.05)[:, None]
    low, high = interval(np.array([0.5]), resampled, np.array([10.0]))
    half = np.sqrt(10 / 9) * stats.t.ppf(0.975, 9) * 0.05
    assert (low[0], high[0]) == pytest.approx((0.5 - half, 0.5 + half), abs=5e-4)


def test_resamples_have_the_mean_and_spread_of_drawing_clusters() -> None:
    generator = np.random.default_rng(1)
    values = generator.integers(0, 5, size=(300, 1)).astype(np.float32)
    drawn = resample_sums(values, resamples=4000, seed=0)[:, 0]
    assert drawn.mean() == pytest.approx(values.sum(), rel=0.01)
    assert drawn.std() == pytest.approx(np.sqrt(300) * values.std(), rel=0.05)


def test_the_same_seed_draws_the_same_clusters() -> None:
    values = np.arange(30, dtype=np.float32)[:, None]
    first, second, other = (resample_sums(values, resamples=300, seed=seed) for seed in (5, 5, 6))
    assert (first == second).all()
    assert (first != other).any()


def test_a_resample_that_holds_nothing_of_a_column_is_left_out() -> None:
    sums = Sums(np.array([[1.0], [0.0]], dtype=np.float32), np.array([[1.0], [0.0]], dtype=np.float32))
    resampled = resample_rates(sums, resamples=400, seed=0)[:, 0]
    assert 0 < np.isnan(resampled).sum() < 400
    low, high = interval(sums.rates, resampled[:, None], np.array([1.0]))
    assert 0 < low[0] < high[0] == 1
