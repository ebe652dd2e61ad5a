"""Tests of no difference between two runs on the same samples, beside the score test: by their names."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

_FLIPS = 9999  # random sign flips
_MOST_EXACT = 13  # clusters up to which all 2**n sign flips are counted instead
_BATCH = 500


class PairedTest(StrEnum):
    """A two-sided test of no difference.

    `SCORE` is that of the intervals: it allows for shared images and is defined for means of rates. `MCNEMAR` is exact
    and takes every sample as independent. `PERMUTATION` exchanges the two runs within whole clusters, and assumes
    nothing else.
    """

    SCORE = "score"
    MCNEMAR = "mcnemar"
    PERMUTATION = "permutation"


TEST_NAMES: Mapping[PairedTest, str] = {
    PairedTest.SCORE: "paired score test that allows for shared images",
    PairedTest.MCNEMAR: "McNemar's exact test, which takes samples as independent",
    PairedTest.PERMUTATION: "paired permutation test over clusters of samples that share images",
}
"""How a table calls each test."""

Counts = npt.NDArray[np.floating[Any]]


def mcnemar_p(gains: Counts, losses: Counts) -> list[float | None]:
    """McNemar's exact p-value of each figure; None for means of several rates, for which it is not defined.

    Args:
        gains: Samples that are hits in the second run alone, (clusters, figures, parts).
        losses: Samples that are hits in the first run alone, of the same shape.
    """
    from scipy import stats  # takes long to be imported

    ups, downs = (counts.sum(axis=0).astype(np.int64) for counts in (gains, losses))  # (figures, parts)
    if ups.shape[1] > 1:
        return [None] * len(ups)
    return [
        float(stats.binomtest(up, up + down).pvalue) if up + down else 1.0
        for up, down in zip(ups[:, 0].tolist(), downs[:, 0].tolist(), strict=True)
    ]


def permutation_p(gains: Counts, losses: Counts, totals: Counts, *, seed: int = 0) -> list[float]:
    """p-value of each figure: how often runs that are exchanged within random clusters differ as much.

    With at most 13 clusters that differ, all exchanges are counted; else 9,999 are drawn.

    Args:
        gains: Samples that are hits in the second run alone, (clusters, figures, parts).
        losses: Samples that are hits in the first run alone.
        totals: All samples.
        seed: Seed of the draws.
    """
    signed = ((gains - losses) / totals.sum(axis=0)).mean(axis=2, dtype=np.float64)  # (clusters, figures)
    is_small = np.count_nonzero(signed, axis=0) <= _MOST_EXACT
    found = np.ones(signed.shape[1])
    found[~is_small] = _drawn(signed[:, ~is_small], seed)
    for at in np.flatnonzero(is_small):
        found[at] = _counted(signed[signed[:, at] != 0, at])
    return [float(p) for p in found]


def _counted(shares: Counts) -> float:
    """Share of all exchanges, (clusters,) each, that differ as much."""
    signs = 1 - 2 * (np.arange(2 ** len(shares))[:, None] >> np.arange(len(shares)) & 1)
    return float(np.mean(np.abs(signs @ shares) >= _least(shares)))


def _drawn(signed: Counts, seed: int) -> Counts:
    """The same of drawn exchanges, for each figure, (figures,)."""
    generator = np.random.default_rng(seed)
    hits = np.ones(signed.shape[1])
    for start in range(0, _FLIPS, _BATCH):
        size = (min(_BATCH, _FLIPS - start), len(signed))
        signs = 1 - 2.0 * generator.integers(0, 2, size, dtype=np.int8)
        hits += np.count_nonzero(np.abs(signs @ signed) >= _least(signed), axis=0)
    return hits / (1 + _FLIPS)


def _least(signed: Counts) -> Counts:
    """The difference that was found, (figures,), less a rounding error."""
    return np.asarray(np.abs(signed.sum(axis=0)) * (1 - 1e-9))
