"""95 % intervals of rates, of means of rates and of paired differences, where samples share images.

One method for all three: the score interval. A value stays in the interval as long as the estimate is not further
from it than chance allows, with the standard error that holds *at that value*:

- The rates behind a tested mean are its maximum likelihood estimates (Miettinen and Nurminen 1985; Tango 1998 for
  pairs), so that no failure in n samples gets an interval with a width.
- The variance is multiplied by a design effect, which the residuals of whole clusters give (Korn and Graubard 1998:
  the effective sample size is n / design effect). With few clusters, Student's quantile replaces the normal one.
- Skewness is corrected, as in Laud 2017 ("Equal-tailed confidence intervals for comparison of rates"), and a quarter
  of a sample is taken for continuity.

How often the intervals hold the true value: docs/results/coverage.md. Why so: docs/decisions/0003-intervals.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holisafe.metrics._students_t import normal_quantile, student_quantile, student_tail

LEVEL = 0.95
_TAIL = 0.5 + LEVEL / 2
_SKEW = (normal_quantile(_TAIL) ** 2 - 1) / 6  # Cornish and Fisher's factor
_CONTINUITY = 0.25  # samples; 0.5 would be exact for the worst rate, 0 for the mean rate
_PRIOR = 0.75  # times Student's quantile squared: about three clusters of hits that agree wholly
_STEPS = 60  # of bisection

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Intervals:
    """Values with the ends of their 95 % intervals, each (figures,)."""

    values: Floats
    lows: Floats
    highs: Floats


def rate_intervals(hits: npt.ArrayLike, totals: npt.ArrayLike) -> Intervals:
    """Rates, or means of several rates with equal weights.

    Args:
        hits: Hits within each cluster, (clusters, figures, parts); a figure is the mean of the rates of its parts.
        totals: Samples within each cluster, of the same shape; each part of each figure has at least one.

    Returns:
        Values and ends in [0, 1], the value within.
    """
    return _Score.of(np.asarray(hits, dtype=np.float64)[..., None], totals).intervals()


def difference_intervals(
    gains: npt.ArrayLike, losses: npt.ArrayLike, totals: npt.ArrayLike
) -> tuple[Intervals, Floats]:
    """Rate of a second run minus that of a first on the same samples, or the mean of several such differences.

    Args:
        gains: Samples within each cluster that are hits in the second run alone, (clusters, figures, parts).
        losses: Samples that are hits in the first run alone.
        totals: All samples within each cluster.

    Returns:
        Values and ends in [-1, 1], and the two-sided p-value of no difference, (figures,). The interval leaves out 0
        where p < 0.05, and only there.
    """
    score = _Score.of(np.stack([gains, losses], axis=-1).astype(np.float64), totals)
    return score.intervals(), score.p_values()


@dataclass(frozen=True, slots=True)
class _Score:
    """What the score test of a value needs.

    Attributes:
        counts: Samples of value 1, and on a second side those of value -1, (figures, parts, sides).
        totals: All samples, (figures, parts).
        values: Estimates, (figures,).
        sample: What one sample weighs: 1 / effective sample size if samples were independent, (figures,).
        spread: Design effect: the variance as a multiple of what it were if samples were independent, (figures,).
        freedom: Degrees of freedom, (figures,).
        quantile: Student's quantile for them, (figures,).
    """

    counts: Floats
    totals: Floats
    values: Floats
    sample: Floats
    spread: Floats
    freedom: Floats
    quantile: Floats

    @staticmethod
    def of(counts: Floats, totals: npt.ArrayLike) -> _Score:
        """From counts (clusters, figures, parts, sides) and totals (clusters, figures, parts)."""
        sizes = np.asarray(totals, dtype=np.float64)
        hits, samples = counts.sum(axis=0), sizes.sum(axis=0)  # (figures, parts, sides), (figures, parts)
        parts = samples.shape[1]
        means = _signed(hits) / samples  # (figures, parts)
        clusters = np.count_nonzero(sizes.any(axis=2), axis=0).astype(np.float64)
        others = np.maximum(clusters - 1, 1)
        residuals = ((_signed(counts) - means * sizes) / samples).mean(axis=2)  # (clusters, figures)
        observed = (residuals**2).sum(axis=0) * clusters / others
        independent = ((hits.sum(axis=2) / samples - means**2) / samples).sum(axis=1) / parts**2
        sample = (1 / samples).sum(axis=1) / parts**2
        most = ((sizes / samples).mean(axis=2) ** 2).sum(axis=0) / sample  # design effect if all clusters agreed wholly
        known = 1 / np.maximum(most, 1)  # share of the variance that needs no estimating: all of it without clusters
        freedom = np.divide(others, 1 - known, out=np.full_like(others, np.inf), where=known < 1)
        # Few hits tell little of how clusters agree: begin with some clusters of hits that agree wholly.
        quantile = student_quantile(_TAIL, freedom)
        prior = _PRIOR * quantile**2 * most * sample**2
        spread = np.maximum((observed + prior * most) / (independent + prior), 1)
        return _Score(hits, samples, means.mean(axis=1), sample, spread, freedom, quantile)

    def intervals(self) -> Intervals:
        """Values and the ends of their intervals."""
        lower = self._search(lambda multipliers: self._excess(multipliers) < 0)
        upper = self._search(lambda multipliers: self._excess(-multipliers) < 0)
        lows, highs = (np.round(self._at(multipliers)[0], 12) for multipliers in (lower, -upper))  # 0, not 1e-13
        return Intervals(self.values, np.minimum(lows, self.values), np.maximum(highs, self.values))

    def p_values(self) -> Floats:
        """Two-sided p-value of a true value of 0, (figures,)."""
        side = np.where(self.values > 0, 1.0, -1.0)
        multipliers = side * self._search(lambda found: side * self._at(side * found)[0] > 0)
        multipliers = np.where(self.values == 0, 0, multipliers)
        _, error, skew = self._at(multipliers)
        gap = np.abs(self.values) - _CONTINUITY * self.sample * self.spread - side * skew
        ratio = np.divide(gap, error, out=np.zeros_like(gap), where=(error > 0) & (gap > 0))
        return np.asarray(2 * student_tail(ratio, self.freedom), dtype=np.float64)

    def _excess(self, multipliers: Floats) -> Floats:
        """By how much the estimate is further from the value at these multipliers than chance allows."""
        means, error, skew = self._at(multipliers)
        allowed = self.quantile * error + _CONTINUITY * self.sample * self.spread
        return np.asarray(np.abs(self.values - means) - allowed - np.sign(multipliers) * skew, dtype=np.float64)

    def _at(self, multipliers: Floats) -> tuple[Floats, Floats, Floats]:
        """The value that has these Lagrange multipliers, its standard error, and its skewness as a shift.

        The rates of greatest likelihood whose mean is the value solve hits / p - (totals - hits) / (1 - p) = multiplier
        for each part and side. A multiplier above 0 gives a value below the estimate.
        """
        parts, sides = self.counts.shape[1:]
        totals = self.totals[..., None]
        slopes = multipliers[:, None, None] * _SIDES[:sides]  # (figures, 1, sides)
        middle = totals + slopes
        root = np.sqrt(np.maximum(middle**2 - 4 * slopes * self.counts, 0))
        # two forms of one root of the quadratic equation, each where it loses no digits
        rates = np.where(
            middle > 0,
            2 * self.counts / np.where(middle > 0, middle + root, 1),
            (middle - root) / np.where(middle > 0, 1, 2 * slopes),
        )  # (figures, parts, sides)
        means, squares = _signed(rates), rates.sum(axis=2)  # of the samples' values, (figures, parts)
        variance = self.spread * ((squares - means**2) / self.totals).sum(axis=1) / parts**2
        third = ((means - 3 * means * squares + 2 * means**3) / self.totals**2).sum(axis=1) / parts**3
        error = np.sqrt(np.maximum(variance, 0))
        skew = _SKEW * self.spread**2 * np.divide(third, variance, out=np.zeros_like(third), where=variance > 0)
        most = self.quantile * error
        return means.mean(axis=1), error, np.clip(skew, -most, most)

    def _search(self, holds: Callable[[Floats], Bools]) -> Floats:
        """The largest multiplier >= 0 up to which a condition holds, (figures,), by bisection."""
        scale = self.totals.max(axis=1)
        low, high = np.zeros_like(scale), np.full_like(scale, 1 - 1e-13)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            does = holds(scale * middle / (1 - middle))
            low, high = np.where(does, middle, low), np.where(does, high, middle)
        return np.asarray(scale * low / (1 - low), dtype=np.float64)


_SIDES = np.array([1.0, -1.0])


def _signed(counts: Floats) -> Floats:
    """Sum over the last axis: samples of value 1 less those of value -1."""
    return np.asarray((counts * _SIDES[: counts.shape[-1]]).sum(axis=-1), dtype=np.float64)
