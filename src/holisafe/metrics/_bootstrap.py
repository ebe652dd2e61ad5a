"""Intervals by resampling clusters: about 2.3 questions share an image, so samples are not independent.

Whole clusters are drawn with replacement. What a resample needs of a cluster is only its sums, so a resample is a
row of counts times a matrix of sums, and thousands of resamples of all figures are a few matrix products. Counts
and sums are small integers, exact in single precision. Why this interval and not another:
docs/decisions/0003-intervals.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from holisafe.metrics._rates import Sums

LEVEL = 0.95
_ROWS = 256  # resamples held at once: their counts then stay within a few MiB

Floats = npt.NDArray[np.float64]


def resample_rates(sums: Sums, *, resamples: int, seed: int) -> Floats:
    """Rate of each column in each resample.

    Args:
        sums: Hits and totals, (clusters, columns).
        resamples: How many resamples to draw.
        seed: Seed of the draws.

    Returns:
        Array (resamples, columns); NaN where a resample holds nothing of a column.
    """
    columns = sums.hits.shape[1]
    both = resample_sums(np.hstack([sums.hits, sums.totals]), resamples=resamples, seed=seed)
    hits, totals = both[:, :columns], both[:, columns:]
    return np.divide(hits, totals, out=np.full_like(hits, np.nan), where=totals > 0)


def resample_sums(sums: npt.NDArray[np.float32], *, resamples: int, seed: int) -> Floats:
    """Sums over each resample of the clusters: (clusters, columns) becomes (resamples, columns)."""
    if not sums.size:
        return np.zeros((resamples, sums.shape[1]))
    drawn = [counts @ sums for counts in _draws(len(sums), resamples, seed)]
    return np.concatenate(drawn).astype(np.float64)


def interval(estimates: Floats, resampled: Floats, clusters: Floats) -> tuple[Floats, Floats]:
    """The 95 % interval of each column: percentiles of its resamples, widened for few clusters.

    With n clusters the percentiles are taken at the normal tail of sqrt(n / (n - 1)) times Student's quantile
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3): plain percentiles are too
    narrow for small n, and for large n the two agree. Where all resamples agree (every cluster has the same rate,
    as when nothing or everything is refused) percentiles would have no width; Wilson's interval with n = clusters
    stands in.

    Args:
        estimates: Value of each column, (columns,).
        resampled: Values in the resamples, (resamples, columns); NaN where a resample had none.
        clusters: Number of independent clusters behind each column, (columns,).

    Returns:
        Lower and upper ends, each (columns,).
    """
    ordered = np.sort(resampled, axis=0)  # NaN last
    valid = np.count_nonzero(~np.isnan(ordered), axis=0)
    tail = _tail(clusters)
    low, high = _quantile(ordered, valid, tail), _quantile(ordered, valid, 1 - tail)
    flat = ~(high - low > 1e-9)
    wilson_low, wilson_high = wilson(estimates, clusters)
    low, high = np.where(flat, wilson_low, low), np.where(flat, wilson_high, high)
    return np.minimum(low, estimates), np.maximum(high, estimates)


def wilson(rates: Floats, trials: Floats) -> tuple[Floats, Floats]:
    """Wilson's 95 % score interval of each rate out of that many independent trials."""
    z = float(stats.norm.ppf(0.5 + LEVEL / 2))
    centre = (rates + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(rates * (1 - rates) / trials + z**2 / (4 * trials**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _draws(clusters: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """How often each cluster is drawn, in blocks (rows, clusters) that make up all resamples."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _ROWS):
        rows = min(_ROWS, resamples - start)
        drawn = generator.integers(0, clusters, size=(rows, clusters), dtype=np.int32)
        drawn += (np.arange(rows, dtype=np.int32) * clusters)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float32)


def _tail(clusters: Floats) -> Floats:
    freedom = np.maximum(clusters - 1, 1)
    quantile = stats.t.ppf(0.5 - LEVEL / 2, freedom)
    return np.asarray(special.ndtr(quantile * np.sqrt((freedom + 1) / freedom)), dtype=np.float64)


def _quantile(ordered: Floats, valid: npt.NDArray[np.int64], at: Floats) -> Floats:
    """Linear interpolation within the first `valid` rows of each column, at one probability per column."""
    place = at * np.maximum(valid - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(valid - 1, 0))
    columns = np.arange(ordered.shape[1])
    start, end = ordered[below, columns], ordered[above, columns]
    return np.asarray(start + (end - start) * (place - below), dtype=np.float64)
