"""Two runs on the same samples: how far apart they are, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from holisafe._enums import parse_enum
from holisafe.errors import DataError
from holisafe.metrics._columns import ASR, asr_name, enter
from holisafe.metrics._headline import FIGURES
from holisafe.metrics._intervals import difference_intervals
from holisafe.metrics._paired_tests import PairedTest, mcnemar_p, permutation_p
from holisafe.metrics._rates import Entries, align, describe_judge
from holisafe.metrics._summary import can_pool
from holisafe.metrics._twins import enter_twins
from holisafe.records import Judgement, Outcome, Sample
from holisafe.taxonomy import UNSAFE_COMBINATIONS


@dataclass(frozen=True, slots=True)
class Difference:
    """Rate of the second run minus that of the first, in [-1, 1].

    Attributes:
        value: The difference.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-sided p-value of no difference, in [0, 1]; of the score test, it is below 0.05 where the interval leaves
            out 0, and only there. None where the test chosen is not defined for the figure.
        n: Samples (or pairs) that both runs were asked.
    """

    value: float
    low: float
    high: float
    p: float | None
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """`{value, low, high, p, n}`."""
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p, "n": self.n}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of two runs, subtracted; None where there are no samples for a figure.

    Attributes:
        differences: By the names of `FIGURES`, in their order.
        test: The test that gave the p-values.
    """

    differences: Mapping[str, Difference | None]
    test: PairedTest = PairedTest.SCORE

    def to_json(self) -> dict[str, dict[str, float | int | None] | None]:
        """One object per figure, null where there are no samples for it."""
        return {name: found.to_json() if found else None for name, found in self.differences.items()}


def compare(
    samples: Sequence[Sample],
    first: Sequence[Judgement],
    second: Sequence[Judgement],
    *,
    test: PairedTest | str = PairedTest.SCORE,
) -> Comparison:
    """Compare two runs on the same samples, under one judge.

    The interval is that of a score test: McNemar's, extended to samples that share images and to means of rates.

    Args:
        samples: What both runs were asked.
        first: Judgements on the first run, one per sample.
        second: Judgements on the second run, one per sample.
        test: What gives the p-values: "score", "mcnemar" or "permutation".

    Raises:
        UnknownNameError: There is no such test.
        DataError: Judgements do not belong to the samples one to one, or are of two judges or versions of one.
    """
    chosen = parse_enum(PairedTest, test)
    judge, outcomes = align(samples, first)
    other_judge, other_outcomes = align(samples, second)
    if judge != other_judge:
        raise DataError(
            f"expected judgements of one judge on both runs, found {describe_judge(judge)!r} and "
            f"{describe_judge(other_judge)!r}; judge both with one of them"
        )
    return _compare(samples, outcomes, other_outcomes, chosen)


def compare_judges(samples: Sequence[Sample], first: Sequence[Judgement], second: Sequence[Judgement]) -> Comparison:
    """Compare what two judges say of one run: the second judge's figures less the first's.

    Args:
        samples: What the run was asked.
        first: Judgements of one judge, one per sample.
        second: Judgements of the other judge on the same responses, one per sample.

    Raises:
        DataError: Judgements do not belong to the samples one to one, or one sequence is of two judges.
    """
    _, outcomes = align(samples, first)
    _, other_outcomes = align(samples, second)
    return _compare(samples, outcomes, other_outcomes, PairedTest.SCORE)


def _compare(
    samples: Sequence[Sample], outcomes: Sequence[Outcome], other_outcomes: Sequence[Outcome], chosen: PairedTest
) -> Comparison:
    columns, ours = enter(samples, outcomes)
    _, theirs = enter(samples, other_outcomes)
    places = {column.rate: place for place, column in enumerate(columns)}
    found = _differences(ours, theirs, [[place] for place in places.values()], chosen)
    differences = dict(zip(places, found, strict=True))
    if ASR in places and can_pool(samples):
        differences["masr_pooled"] = differences[ASR]
    four = [places[asr_name(each)] for each in UNSAFE_COMBINATIONS if asr_name(each) in places]
    if len(four) == len(UNSAFE_COMBINATIONS):
        differences["masr_macro"] = _differences(ours, theirs, [four], chosen)[0]
    twins, other_twins = enter_twins(samples, outcomes), enter_twins(samples, other_outcomes)
    if twins.width:
        differences["twin_accuracy"] = _differences(twins, other_twins, [[0]], chosen)[0]
    return Comparison({figure.name: differences.get(figure.name) for figure in FIGURES}, chosen)


def _differences(first: Entries, second: Entries, parts: Sequence[Sequence[int]], test: PairedTest) -> list[Difference]:
    """Difference of each figure, the mean over its columns, (figures, parts)."""
    chosen = np.array(parts, dtype=np.int64).reshape(len(parts), -1)
    totals = first.sums().totals[:, chosen].astype(np.float64)  # (clusters, figures, parts)
    gains, losses = (
        replace(first, hits=hits).sums().hits[:, chosen].astype(np.float64)
        for hits in (second.hits & ~first.hits, first.hits & ~second.hits)
    )
    found, chances = difference_intervals(gains, losses, totals)
    p_values: list[float | None] = list(chances.tolist())
    if test is PairedTest.MCNEMAR:
        p_values = mcnemar_p(gains, losses)
    elif test is PairedTest.PERMUTATION:
        p_values = list(permutation_p(gains, losses, totals))
    counts = totals.sum(axis=(0, 2), dtype=np.int64)
    columns = (found.values.tolist(), found.lows.tolist(), found.highs.tolist(), p_values, counts.tolist())
    return [Difference(*row) for row in zip(*columns, strict=True)]
