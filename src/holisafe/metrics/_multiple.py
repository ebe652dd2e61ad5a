"""Several comparisons in one table: p-values that hold for all of them together."""

from __future__ import annotations

from collections.abc import Sequence

from holisafe.errors import DataError

HOLM = "Holm"
"""How the correction is called beside a table."""


def holm(pvalues: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's step-down correction (Holm 1979): the chance of any false finding among all comparisons stays below alpha.

    Args:
        pvalues: p-value of each comparison, in [0, 1]; None where nothing was tested, which is not counted.

    Returns:
        Corrected p-values in the same order: none is smaller than its own, and their order is kept.

    Raises:
        DataError: A p-value is not in [0, 1].
    """
    if wrong := [p for p in pvalues if p is not None and not 0 <= p <= 1]:
        raise DataError(f"expected p-values in [0, 1], found {wrong[0]!r}")
    tested = sorted((p, at) for at, p in enumerate(pvalues) if p is not None)
    corrected: list[float | None] = [None] * len(pvalues)
    highest = 0.0
    for rank, (p, at) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        corrected[at] = highest
    return tuple(corrected)
