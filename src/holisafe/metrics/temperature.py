"""Temperature scaling: the number that logits are divided by, and how well the records determine it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from holisafe.errors import DataError
from holisafe.metrics.calibration import Floats, Ints, classified

COOLEST, HOTTEST = 0.01, 100.0
"""Bounds of the search for a temperature."""


@dataclass(frozen=True, slots=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: Temperature of the highest likelihood, in [0.01, 100].
        low: Lower end of its 95 % interval.
        high: Upper end.
        at_bound: Whether the likelihood still grows at an end of the search: the records determine no temperature.
    """

    value: float
    low: float
    high: float
    at_bound: bool

    def to_json(self) -> dict[str, float | bool]:
        """`{value, low, high, at_bound}`."""
        return {"value": self.value, "low": self.low, "high": self.high, "at_bound": self.at_bound}


def fit_temperature(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Temperature:
    """Fit the temperature under which held-out records are most likely, with an interval.

    Temperature scaling by maximum likelihood (Guo et al. 2017, arXiv 1706.04599, section 4.2). The loss is convex in
    1 / temperature. The interval holds the central 95 % of the temperatures of resampled clusters. Where every record
    is classified right, or none is, the likelihood has no maximum; the result is then an end of the search, and
    `at_bound` says so.

    Args:
        logits: (records, labels).
        labels: Index of the right label, (records,).
        clusters: Index of each record's cluster, (records,), from 0 on without gaps; each is its own when None.
        resamples: Resamples of the clusters behind the interval; 0 gives the whole search as the interval.
        seed: Seed of the resamples.

    Returns:
        The temperature; where the logits of no record differ, 1 with the whole search as its interval.

    Raises:
        DataError: The arrays do not belong together, are empty or not finite.
    """
    values, right = classified(logits, labels)
    belongs = np.arange(len(right)) if clusters is None else np.asarray(clusters, dtype=np.int64)
    if belongs.shape != right.shape:
        raise DataError(f"expected the cluster of each record, found {belongs.shape} for {right.shape} labels")
    if not np.ptp(values, axis=1).any():
        return Temperature(1.0, COOLEST, HOTTEST, at_bound=False)

    found = _most_likely(values, right)
    at_bound = not COOLEST * 1.001 < found < HOTTEST / 1.001
    if at_bound:
        found = COOLEST if found < 1 else HOTTEST
    low, high = _interval(values, right, belongs, resamples, seed) if resamples else (COOLEST, HOTTEST)
    return Temperature(found, min(low, found), max(high, found), at_bound)


def _most_likely(values: Floats, right: Ints) -> float:
    """Temperature in [0.01, 100] of the lowest loss."""
    if (values[np.arange(len(right)), right] == values.max(axis=1)).all():
        return COOLEST  # every record is right, so the loss falls with the temperature

    def loss(log_temperature: float) -> float:
        return float(_losses(values, right, math.exp(-log_temperature)).mean())

    bounds = (math.log(COOLEST), math.log(HOTTEST))
    return math.exp(optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)


def _losses(values: Floats, right: Ints, sharpness: float) -> Floats:
    """Negative log likelihood of each record, (records,), at temperature 1 / sharpness."""
    scaled = sharpness * values
    return np.asarray(special.logsumexp(scaled, axis=1) - scaled[np.arange(len(right)), right], dtype=np.float64)


def _interval(values: Floats, right: Ints, belongs: Ints, resamples: int, seed: int) -> tuple[float, float]:
    """Central 95 % of the temperatures of resampled clusters.

    Every resample has the same losses in other numbers, so the losses are computed once on a grid of temperatures;
    the minimum of a resample is that of the parabola through its lowest point and the two beside it.
    """
    grid = np.linspace(math.log(COOLEST), math.log(HOTTEST), _GRID)
    count = int(belongs.max()) + 1
    sums = np.empty((count, _GRID))  # (clusters, temperatures)
    for column, log_temperature in enumerate(grid):
        losses = _losses(values, right, math.exp(-log_temperature))
        sums[:, column] = np.bincount(belongs, weights=losses, minlength=count)
    found = np.concatenate([_lowest(times @ sums, grid) for times in _draws(count, resamples, seed)])
    low, high = np.quantile(np.exp(found), [0.025, 0.975])
    return float(low), float(high)


_GRID = 241
_ROWS = 256  # resamples at once


def _draws(clusters: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each cluster is drawn, in blocks of (rows, clusters)."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _ROWS):
        rows = min(_ROWS, resamples - start)
        drawn = generator.integers(0, clusters, size=(rows, clusters)) + np.arange(rows)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters).astype(np.float64)


def _lowest(losses: Floats, grid: Floats) -> Floats:
    """Where each row, (resamples, temperatures), has its minimum, (resamples,)."""
    rows, places = np.arange(len(losses)), losses.argmin(axis=1)
    inner = np.clip(places, 1, len(grid) - 2)
    before, at, after = (losses[rows, inner + step] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.divide(before - after, 2 * bend, out=np.zeros_like(bend), where=bend > 0)
    return np.asarray(np.where(inner == places, grid[inner] + shift * (grid[1] - grid[0]), grid[places]))
