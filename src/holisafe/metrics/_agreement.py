"""Whether two judges find the same of the same responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from holisafe.metrics._rates import PARTS, Part, align, is_counted, is_right, part_of
from holisafe.records import Behaviour, Judgement, Outcome, Sample


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two judges agree on right, wrong, or not scored (no answer, refused to judge, unparsable, error).

    Attributes:
        agreement: Share of samples on which they agree, in [0, 1].
        kappa: Cohen's kappa, in [-1, 1]; None where both judges always find one and the same.
        n: Samples both judged.
    """

    agreement: float
    kappa: float | None
    n: int


def agreement(
    samples: Sequence[Sample], first: Sequence[Judgement], second: Sequence[Judgement]
) -> Mapping[Part, Agreement]:
    """Compare two judges on the same responses.

    Samples of which nothing is expected are left out.

    Returns:
        Agreement within each part of the data that has samples, and over all of them under None.

    Raises:
        DataError: Judgements do not belong to the samples one to one.
    """
    _, outcomes = align(samples, first)
    _, others = align(samples, second)
    tables = {part: np.zeros((3, 3), dtype=np.int64) for part in PARTS}
    for sample, one, other in zip(samples, outcomes, others, strict=True):
        part = part_of(sample)
        if part is None:
            continue
        cell = _side(sample.expected, one), _side(sample.expected, other)
        tables[part][cell] += 1
        tables[None][cell] += 1
    return {part: _measure(table) for part, table in tables.items() if table.sum()}


def _side(expected: Behaviour | None, outcome: Outcome) -> int:
    if is_right(expected, outcome):
        return 0
    return 1 if is_counted(expected, outcome) else 2


def _measure(table: npt.NDArray[np.int64]) -> Agreement:
    count = int(table.sum())
    same = float(np.trace(table)) / count
    by_chance = float(table.sum(axis=0) @ table.sum(axis=1)) / count**2
    return Agreement(same, None if by_chance == 1 else (same - by_chance) / (1 - by_chance), count)
