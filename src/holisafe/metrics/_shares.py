"""Means of several shares with equal weights, such as the accuracy over parts of different size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from holisafe.metrics._intervals import rate_intervals
from holisafe.metrics._summary import Figure


def mean_share_figure(
    holds: npt.ArrayLike, parts: Sequence[str], clusters: Sequence[str], names: Sequence[str]
) -> Figure | None:
    """Unweighted mean of the share within each part, with the interval of all rates; None where a part is empty.

    Args:
        holds: Whether it holds, (records,).
        parts: The part of each record, (records,).
        clusters: The cluster of each record, (records,).
        names: The parts whose shares are averaged; records of others are left out.

    Returns:
        The mean; its `n` is the number of records in the parts.
    """
    places = {name: place for place, name in enumerate(names)}
    chosen = [at for at, part in enumerate(parts) if part in places]
    columns = np.array([places[parts[at]] for at in chosen], dtype=np.int64)
    if len(set(columns.tolist())) < len(places) or not places:
        return None
    _, belongs = np.unique([clusters[at] for at in chosen], return_inverse=True)
    size = (int(belongs.max()) + 1, len(places))
    flat = belongs * size[1] + columns
    truths = np.asarray(holds, dtype=np.float64)[chosen]
    hits = np.bincount(flat, weights=truths, minlength=size[0] * size[1]).reshape(size[0], 1, size[1])
    totals = np.bincount(flat, minlength=size[0] * size[1]).reshape(size[0], 1, size[1])
    found = rate_intervals(hits, totals)
    return Figure(float(found.values[0]), float(found.lows[0]), float(found.highs[0]), len(chosen))
