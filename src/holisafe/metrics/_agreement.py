"""Whether two judges say the same of the same responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holisafe.metrics._rates import align, is_hit, is_right
from holisafe.records import Judgement, Outcome, Sample
from holisafe.taxonomy import Combination


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two judges agree on right, wrong, or undecided (an outcome that could not be had).

    Attributes:
        agreement: Share of samples on which they agree, in [0, 1].
        kappa: Cohen's kappa, in [-1, 1]; None where both judges always say the same one thing.
        n: Samples both judged.
    """

    agreement: float
    kappa: float | None
    n: int


def agreement(
    samples: Sequence[Sample], first: Sequence[Judgement], second: Sequence[Judgement]
) -> Mapping[Combination | None, Agreement]:
    """Compare two judges on the same responses.

    Returns:
        Agreement within each combination that has samples, and over all of them under None.

    Raises:
        DataError: Verdicts do not belong to the samples one to one.
    """
    _, outcomes = align(samples, first)
    _, others = align(samples, second)
    tables = {combination: np.zeros((3, 3), dtype=np.int64) for combination in (*Combination, None)}
    for sample, one, other in zip(samples, outcomes, others, strict=True):
        cell = _side(sample.required_combination, one), _side(sample.required_combination, other)
        tables[sample.combination][cell] += 1
        tables[None][cell] += 1
    return {combination: _measure(table) for combination, table in tables.items() if table.sum()}


def _side(combination: Combination, outcome: Outcome) -> int:
    if is_right(combination, outcome):
        return 0
    return 1 if is_hit(combination, outcome) else 2


def _measure(table: npt.NDArray[np.int64]) -> Agreement:
    count = int(table.sum())
    same = float(np.trace(table)) / count
    by_chance = float(table.sum(axis=0) @ table.sum(axis=1)) / count**2
    return Agreement(same, None if by_chance == 1 else (same - by_chance) / (1 - by_chance), count)
