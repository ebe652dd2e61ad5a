"""Intervals: their properties, known cases, exact coverage without clusters, simulated coverage with them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from holisafe.metrics._intervals import Floats, Intervals, difference_intervals, rate_intervals

PARTS = st.sampled_from([1, 4])


@st.composite
def counts(draw: st.DrawFn, most: int = 4) -> tuple[Floats, Floats]:
    """Hits and totals of one figure in some clusters, (clusters, 1, parts); no part is empty."""
    shape = (draw(st.integers(1, 40)), 1, draw(PARTS))
    totals = draw(arrays.arrays(np.int64, shape, elements=st.integers(0, most)))
    totals[0] = np.maximum(totals[0], 1)
    shares = draw(arrays.arrays(np.float64, shape, elements=st.sampled_from([0, 0, 0.3, 0.6, 1])))
    return np.floor(shares * totals + 0.5), totals.astype(np.float64)


@st.composite
def fillings(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Hits added one by one in any order until all samples are hits, (clusters, steps, parts), and the totals."""
    _, totals = draw(counts())
    cells = np.argwhere(totals[:, 0] > 0)
    samples = np.repeat(cells, totals[:, 0][tuple(cells.T)].astype(np.int64), axis=0)
    order = draw(st.permutations(range(len(samples))))
    if draw(st.booleans()):  # first a few anywhere, then cluster by cluster
        few = draw(st.integers(0, len(order)))
        order = order[:few] + sorted(order[few:])
    hits = np.zeros((len(totals), len(order) + 1, totals.shape[2]))
    for step, place in enumerate(order):
        cluster, part = samples[place]
        hits[cluster, step + 1 :, part] += 1
    return hits, np.broadcast_to(totals, hits.shape)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Gains, losses and totals, (clusters, 1, parts)."""
    gains, totals = draw(counts())
    shares = draw(arrays.arrays(np.float64, gains.shape, elements=st.sampled_from([0, 0, 0.5, 1])))
    return gains, np.floor(shares * (totals - gains)), totals


def ends(found: Intervals) -> tuple[float, float]:
    return float(found.lows[0]), float(found.highs[0])


@given(counts())
def test_the_value_is_within_ends_between_0_and_1(case: tuple[Floats, Floats]) -> None:
    found = rate_intervals(*case)
    assert 0 <= found.lows[0] <= found.values[0] <= found.highs[0] <= 1
    assert found.lows[0] < found.highs[0]
    assert found.values[0] == pytest.approx((case[0].sum(axis=0) / case[1].sum(axis=0)).mean())


@settings(max_examples=200)
@given(fillings())
def test_one_more_hit_never_lowers_an_end_wherever_it_falls(case: tuple[Floats, Floats]) -> None:
    found = rate_intervals(*case)
    assert (np.diff(found.lows) >= -1e-9).all()
    assert (np.diff(found.highs) >= -1e-9).all()


@given(counts())
def test_misses_for_hits_mirror_the_interval(case: tuple[Floats, Floats]) -> None:
    hits, totals = case
    low, high = ends(rate_intervals(hits, totals))
    assert ends(rate_intervals(totals - hits, totals)) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(counts(), st.randoms())
def test_the_order_of_clusters_does_not_matter(case: tuple[Floats, Floats], chance: random.Random) -> None:
    order = chance.sample(range(len(case[0])), len(case[0]))
    there, here = (rate_intervals(*(table[kept] for table in case)) for kept in (order, slice(None)))
    assert ends(there) == pytest.approx(ends(here), abs=1e-9)


@settings(max_examples=300)
@given(changes())
def test_the_interval_of_a_difference_leaves_out_0_exactly_where_p_is_below_5_percent(
    case: tuple[Floats, Floats, Floats],
) -> None:
    found, p = difference_intervals(*case)
    low, high = ends(found)
    assert -1 <= low <= found.values[0] <= high <= 1
    assert 0 <= p[0] <= 1
    assert (low > 0 or high < 0) == (p[0] < 0.05)


@given(changes())
def test_runs_swapped_mirror_the_interval_and_keep_the_p_value(case: tuple[Floats, Floats, Floats]) -> None:
    gains, losses, totals = case
    (here, p), (there, other) = difference_intervals(*case), difference_intervals(losses, gains, totals)
    assert ends(there) == pytest.approx((-here.highs[0], -here.lows[0]), abs=1e-9)
    assert other[0] == pytest.approx(p[0], abs=1e-9)


def test_one_failure_has_a_higher_upper_end_than_none() -> None:
    hits = np.zeros((719, 2, 1))
    hits[0, 1] = 1
    highs = rate_intervals(hits, np.ones_like(hits)).highs
    assert highs[0] == pytest.approx(0.0047, abs=5e-5)
    assert highs[1] == pytest.approx(0.0073, abs=5e-5)


def test_without_clusters_ends_lie_between_those_of_wilson_and_of_clopper_and_pearson() -> None:
    hits = (np.arange(100)[:, None] < np.arange(101))[:, :, None]
    found = rate_intervals(hits, np.ones_like(hits))
    for count, (low, high) in enumerate(zip(found.lows, found.highs, strict=True)):
        exact, wilson = (stats.binomtest(count, 100).proportion_ci(method=method) for method in ("exact", "wilson"))
        assert exact.low - 0.004 <= low <= max(exact.low, wilson.low) + 0.004
        assert min(exact.high, wilson.high) - 0.006 <= high <= max(exact.high, wilson.high) + 0.004


@pytest.mark.parametrize("samples", [1, 2, 5, 12, 40, 200])
def test_coverage_without_clusters_is_at_least_93_percent_at_every_rate(samples: int) -> None:
    counted = np.arange(samples + 1)
    hits = (np.arange(samples)[:, None] < counted)[:, :, None]
    found = rate_intervals(hits, np.ones_like(hits))
    rates = np.concatenate([np.geomspace(1e-4, 0.05, 200), np.linspace(0.05, 0.5, 400)])[:, None]
    chances = stats.binom.pmf(counted, samples, rates)  # (rates, counts)
    held = (found.lows <= rates) & (rates <= found.highs)
    assert (chances * held).sum(axis=1).min() >= 0.93
    assert (chances * (found.highs < rates)).sum(axis=1).max() <= 0.037


@pytest.mark.parametrize(("clusters", "rate"), [(200, 0.3), (60, 0.5), (60, 0.15), (15, 0.4), (200, 0.01)])
def test_coverage_with_clusters_is_at_least_93_percent(clusters: int, rate: float) -> None:
    """Clusters of 1 to 4 samples whose own rates scatter (beta-binomial); perf/coverage.py does it in full."""
    generator = np.random.default_rng(7)
    sizes = np.broadcast_to(generator.integers(1, 5, size=(clusters, 1)), (clusters, 1000))
    hits = generator.binomial(sizes, generator.beta(3 * rate, 3 * (1 - rate), size=sizes.shape))
    found = rate_intervals(hits[:, :, None], sizes[:, :, None])
    assert np.mean((found.lows <= rate) & (rate <= found.highs)) >= 0.93
    assert np.mean(found.highs < rate) <= 0.035


def test_clusters_that_agree_wholly_count_as_one_sample_each() -> None:
    alone = np.arange(50)[:, None, None] < 20
    together = rate_intervals(4 * alone, np.full(alone.shape, 4))
    low, high = ends(rate_intervals(alone, np.ones(alone.shape)))
    assert ends(together) == pytest.approx((low, high), abs=0.015)
    assert together.highs[0] - together.lows[0] > high - low  # and their number says how sure that is


def test_without_clusters_p_is_that_of_mcnemar_less_a_quarter_of_a_sample() -> None:
    gains, losses = np.zeros((2, 500, 1, 1))
    gains[:18], losses[18:24] = 1, 1
    _, p = difference_intervals(gains, losses, np.ones_like(gains))
    assert p[0] == pytest.approx(2 * stats.norm.sf((18 - 6 - 0.25) / 24**0.5), rel=0.01)
