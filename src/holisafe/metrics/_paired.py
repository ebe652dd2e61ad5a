"""Two runs on the same samples: how far apart they are, and whether chance explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from holisafe.errors import DataError
from holisafe.metrics._bootstrap import Floats, interval, resample_rates, wilson
from holisafe.metrics._columns import ASR, REFUSAL_RATE, RR, UNHELPFUL_RATE, asr_name, sum_columns
from holisafe.metrics._headline import FIGURES
from holisafe.metrics._rates import Sums, align, describe_judge
from holisafe.metrics._summary import can_pool
from holisafe.metrics._twins import twin_sums
from holisafe.records import Judgement, Sample
from holisafe.taxonomy import UNSAFE_COMBINATIONS

_ROWS = 256  # sign patterns held at once


@dataclass(frozen=True, slots=True)
class Difference:
    """Rate of the second run minus that of the first, in [-1, 1].

    Attributes:
        value: The difference.
        low: Lower end of its 95 % interval (cluster bootstrap, both runs on the same resample).
        high: Upper end.
        p: Two-sided p-value of the cluster sign-flip test, in (0, 1].
        n: Samples (or pairs) that both runs were asked.
    """

    value: float
    low: float
    high: float
    p: float
    n: int

    def to_json(self) -> dict[str, float | int]:
        """`{value, low, high, p, n}`."""
        return {"value": self.value, "low": self.low, "high": self.high, "p": self.p, "n": self.n}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The figures of two runs, subtracted; None where there are no samples for a figure.

    Attributes:
        differences: By the names of `FIGURES`, in their order.
    """

    differences: Mapping[str, Difference | None]

    def to_json(self) -> dict[str, dict[str, float | int] | None]:
        """One object per figure, null where there are no samples for it."""
        return {name: found.to_json() if found else None for name, found in self.differences.items()}


def compare(
    samples: Sequence[Sample],
    first: Sequence[Judgement],
    second: Sequence[Judgement],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two runs on the same samples, under one judge.

    The test exchanges the two runs' answers on whole clusters at random: if the runs are alike, neither has a
    claim to its side. Its p-value holds for samples that share images, where McNemar's test would not.

    Args:
        samples: What both runs were asked.
        first: Judgements on the first run, one per sample.
        second: Judgements on the second run, one per sample.
        resamples: Resamples behind each interval, and sign patterns behind each p-value.
        seed: Seed of both.

    Raises:
        DataError: Judgements do not belong to the samples one to one, or are of two judges or versions of one.
    """
    judge, outcomes = align(samples, first)
    other_judge, other_outcomes = align(samples, second)
    if judge != other_judge:
        raise DataError(
            f"expected judgements of one judge on both runs, found {describe_judge(judge)!r} and "
            f"{describe_judge(other_judge)!r}; judge both with one of them"
        )
    columns, sums = sum_columns(samples, outcomes)
    _, others = sum_columns(samples, other_outcomes)
    rates = {column.rate: place for place, column in enumerate(columns)}
    plain = (RR, *map(asr_name, UNSAFE_COMBINATIONS))
    places = {name: [rates[name]] for name in plain if name in rates}
    four = [rates[asr_name(each)] for each in UNSAFE_COMBINATIONS if asr_name(each) in rates]
    if len(four) == len(UNSAFE_COMBINATIONS):
        places["masr_macro"] = four
    if ASR in rates and can_pool(samples):
        places["masr_pooled"] = [rates[ASR]]
    found = _differences(places, sums, others, resamples, seed)
    rest = {name: [rates[name]] for name in (REFUSAL_RATE, UNHELPFUL_RATE) if name in rates}
    found |= _differences(rest, sums, others, resamples, seed)  # sign patterns depend on what differs
    twins, other_twins = twin_sums(samples, outcomes), twin_sums(samples, other_outcomes)
    if twins.hits.size:
        found |= _differences({"twin_accuracy": [0]}, twins, other_twins, resamples, seed)
    return Comparison({figure.name: found.get(figure.name) for figure in FIGURES})


def _differences(
    places: Mapping[str, Sequence[int]], first: Sums, second: Sums, resamples: int, seed: int
) -> dict[str, Difference]:
    """Difference of the mean rate of each group of columns, with interval and test.

    The same seed draws the same clusters for both runs, so that resamples subtract.
    """
    if not places:
        return {}
    apart = resample_rates(second, resamples=resamples, seed=seed)
    apart -= resample_rates(first, resamples=resamples, seed=seed)
    weights = np.zeros((first.hits.shape[1], len(places)))
    for group, members in enumerate(places.values()):
        weights[list(members), group] = 1 / len(members)
    totals = first.totals.sum(axis=0, dtype=np.float64)
    shares = (second.hits - first.hits).astype(np.float64) / totals @ weights  # (clusters, groups)
    values = shares.sum(axis=0)
    means = np.stack([apart[:, list(members)].mean(axis=1) for members in places.values()], axis=1)
    behind = np.array([(first.totals[:, list(m)].sum(axis=1) > 0).sum() for m in places.values()], dtype=float)
    lows, highs = _paired_interval(values, means, behind)
    chances = _sign_flip(shares, resamples, seed)
    counts = [int(totals[list(members)].sum()) for members in places.values()]
    rows = zip(values.tolist(), lows.tolist(), highs.tolist(), chances.tolist(), counts, strict=True)
    return {name: Difference(*row) for name, row in zip(places, rows, strict=True)}


def _paired_interval(values: Floats, resampled: Floats, clusters: Floats) -> tuple[Floats, Floats]:
    """The interval of rates, moved from [0, 1] to [-1, 1] and back, so that no width is never the answer.

    Where the runs differ on no cluster, none of so many was seen to; Wilson's bound on that share, either way.
    """
    lows, highs = interval((values + 1) / 2, (resampled + 1) / 2, clusters)
    lows, highs = 2 * lows - 1, 2 * highs - 1
    is_alike = np.all(np.abs(np.nan_to_num(resampled)) < 1e-9, axis=0)
    _, most = wilson(np.zeros_like(values), clusters)
    return np.where(is_alike, -most, lows), np.where(is_alike, most, highs)


def _sign_flip(shares: Floats, patterns: int, seed: int) -> Floats:
    """Two-sided p-value of each column's sum, the clusters' signs exchanged at random; (columns,)."""
    observed = np.abs(shares.sum(axis=0))
    moving = shares[np.any(shares != 0, axis=1)]
    generator = np.random.default_rng(seed)
    as_far = np.zeros(shares.shape[1])
    for start in range(0, patterns, _ROWS):
        rows = min(_ROWS, patterns - start)
        signs = 2.0 * generator.integers(0, 2, size=(rows, len(moving))) - 1
        as_far += (np.abs(signs @ moving) >= observed - 1e-12).sum(axis=0)
    return np.asarray((1 + as_far) / (1 + patterns), dtype=np.float64)
