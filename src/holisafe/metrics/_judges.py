"""Any number of judges on the same answers: chance-corrected agreement, disagreements, and the rankings they give.

Krippendorff's alpha for nominal values (Krippendorff 2018, "Content Analysis", chapter 12); Cohen's kappa beside the
prevalence, since kappa falls towards 0 where one value is rare (Feinstein and Cicchetti 1990).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from holisafe.errors import DataError
from holisafe.metrics._summary import Figure
from holisafe.metrics.calibration import bootstrap_figure

Verdicts = Mapping[str, Sequence[Hashable | None]]
"""Name of a judge (or annotator) → its value for each answer, all in the same order; None where it gave none."""


def krippendorff_alpha(verdicts: Verdicts) -> float | None:
    """Krippendorff's alpha for nominal values; missing values are allowed.

    Args:
        verdicts: Values of each judge, (answers,) each.

    Returns:
        1 where all agree, about 0 where agreement is that of chance; None where fewer than two values occur, or no
        answer has two values.

    Raises:
        DataError: The judges have values for different numbers of answers.
    """
    return _alpha(_coincidences(_held(verdicts)[1]).sum(axis=0))


def krippendorff_figure(verdicts: Verdicts, clusters: Sequence[Hashable], *, seed: int = 0) -> Figure | None:
    """Krippendorff's alpha for nominal values with its 95 % interval, from a bootstrap of whole clusters.

    Args:
        verdicts: Values of each judge, (answers,) each.
        clusters: What each answer shares with others, such as its image, (answers,).
        seed: Seed of the draws.

    Returns:
        Alpha and its interval in [-1, 1], and the number of answers; None where alpha is not defined.

    Raises:
        DataError: The judges have values for different numbers of answers.
    """
    places, units = _held(verdicts)
    values = Counter(value for unit in units for value in unit)
    if len(values) < 2:
        return None
    commonest = values.most_common(1)[0][0]
    _, belongs = np.unique([str(clusters[at]) for at in places], return_inverse=True)
    rare = {int(cluster) for cluster, unit in zip(belongs, units, strict=True) if set(unit) - {commonest}}
    coincidences = _coincidences(units)

    def statistic(rows: npt.NDArray[np.int64]) -> float | None:
        alpha = _alpha(coincidences[rows].sum(axis=0))
        return None if alpha is None else (alpha + 1) / 2  # a share, as the bootstrap takes them

    found = bootstrap_figure(statistic, belongs, independent=len(rare), seed=seed)
    return found and Figure(2 * found.value - 1, 2 * found.low - 1, 2 * found.high - 1, found.n)


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two judges on the answers that both judged.

    Attributes:
        first: Name of one judge.
        second: Name of the other.
        agreement: Share of answers with equal values, in [0, 1].
        kappa: Cohen's kappa, in [-1, 1]; None where both always give one and the same value.
        prevalence: Share of each value over both judges, in [0, 1]. Where one is rare, kappa is low even if
            agreement is high.
        n: Answers that both judged.
    """

    first: str
    second: str
    agreement: float
    kappa: float | None
    prevalence: Mapping[str, float]
    n: int

    def to_json(self) -> dict[str, Any]:
        """JSON values, one key per attribute."""
        return {
            "first": self.first,
            "second": self.second,
            "agreement": self.agreement,
            "kappa": self.kappa,
            "prevalence": dict(self.prevalence),
            "n": self.n,
        }


def pairwise_agreement(verdicts: Verdicts) -> tuple[PairAgreement, ...]:
    """Agreement of every two judges; pairs without a common answer are left out.

    Raises:
        DataError: The judges have values for different numbers of answers.
    """
    _columns(verdicts)
    found = []
    for (first, ones), (second, others) in combinations(verdicts.items(), 2):
        both = [(a, b) for a, b in zip(ones, others, strict=True) if a is not None and b is not None]
        if both:
            found.append(_pair(first, second, both))
    return tuple(found)


def disagreements(verdicts: Verdicts) -> tuple[int, ...]:
    """Indices of the answers for which at least two judges give different values.

    Raises:
        DataError: The judges have values for different numbers of answers.
    """
    units = zip(*_columns(verdicts), strict=True)
    return tuple(at for at, unit in enumerate(units) if len({value for value in unit if value is not None}) > 1)


def most_by_chance(n: int, share: float, level: float = 0.05) -> int:
    """Most of n verdicts that change by chance: more do with a probability of at most `level` (exact binomial).

    Args:
        n: Number of verdicts.
        share: Probability in [0, 1) that a verdict changes by chance.
        level: The probability, in (0, 1).
    """
    from scipy import stats  # takes long to be imported

    return int(stats.binom.ppf(1 - level, n, share))


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """How alike two judges rank models, with 95 % intervals.

    Attributes:
        kendall: Kendall's tau-b, in [-1, 1]; None where one judge gives all models the same rate.
        kendall_interval: Percentiles 2.5 and 97.5 over resampled clusters; None where tau is not defined in most.
        spearman: Spearman's rank correlation, in [-1, 1]; None as `kendall`.
        spearman_interval: As `kendall_interval`.
        undefined: Resamples in which the correlations are not defined and which the intervals leave out.
        resamples: Resamples drawn.
        models: Number of models.
    """

    kendall: float | None
    kendall_interval: tuple[float, float] | None
    spearman: float | None
    spearman_interval: tuple[float, float] | None
    undefined: int
    resamples: int
    models: int

    def to_json(self) -> dict[str, Any]:
        """JSON values, one key per attribute."""
        return {
            "kendall": self.kendall,
            "kendall_interval": None if self.kendall_interval is None else list(self.kendall_interval),
            "spearman": self.spearman,
            "spearman_interval": None if self.spearman_interval is None else list(self.spearman_interval),
            "undefined": self.undefined,
            "resamples": self.resamples,
            "models": self.models,
        }


def rank_correlation(
    first: npt.ArrayLike, second: npt.ArrayLike, clusters: npt.ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> RankCorrelation:
    """Correlation of two judges' rankings of models by rate; whole clusters of samples are drawn for the interval.

    All models answered the same samples, so that a draw is the same for all of them: the interval says how far the
    correlation hangs on the samples. It says nothing of other models.

    Args:
        first: Whether one judge counts each answer, (models, samples).
        second: The same of the other judge.
        clusters: Index of each sample's cluster, (samples,).
        resamples: How many resamples to draw.
        seed: Seed of the draws.

    Raises:
        DataError: The shapes differ, or there are fewer than two models.
    """
    ones, others = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    _, belongs = np.unique(np.asarray(clusters), return_inverse=True)
    if ones.ndim != 2 or ones.shape != others.shape or ones.shape[1] != len(belongs):
        raise DataError(
            f"expected two arrays (models, samples) and clusters (samples,); found {ones.shape}, {others.shape} and "
            f"{belongs.shape}"
        )
    if len(ones) < 2 or not len(belongs):
        raise DataError(f"a ranking needs at least 2 models and a sample; found {ones.shape}")
    count = int(belongs.max()) + 1
    sums = np.zeros((2, len(ones), count))  # (judges, models, clusters)
    for judge, hits in enumerate((ones, others)):
        np.add.at(sums[judge].T, belongs, hits.T)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    drawn = sums @ weights.T  # (judges, models, resamples); the number of samples is the same for every model
    taus, rhos = zip(*(_correlations(*drawn[..., at]) for at in range(resamples)), strict=True)
    kendall, spearman = _correlations(*sums.sum(axis=2))
    return RankCorrelation(
        kendall, _interval(taus), spearman, _interval(rhos), sum(tau is None for tau in taus), resamples, len(ones)
    )


def _correlations(ones: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> tuple[float | None, float | None]:
    if np.ptp(ones) == 0 or np.ptp(others) == 0:
        return None, None
    from scipy import stats  # takes long to be imported

    return float(stats.kendalltau(ones, others).statistic), float(stats.spearmanr(ones, others).statistic)


def _interval(values: Sequence[float | None]) -> tuple[float, float] | None:
    defined = [value for value in values if value is not None]
    if 2 * len(defined) <= len(values):
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def _columns(verdicts: Verdicts) -> list[Sequence[Hashable | None]]:
    lengths = {name: len(values) for name, values in verdicts.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"expected as many values of every judge, None where it gave none; found {listed}")
    return list(verdicts.values())


def _held(verdicts: Verdicts) -> tuple[list[int], list[list[Hashable]]]:
    """Places of the answers with two values or more, and these values."""
    units = [[value for value in unit if value is not None] for unit in zip(*_columns(verdicts), strict=True)]
    places = [at for at, unit in enumerate(units) if len(unit) > 1]
    return places, [units[at] for at in places]


def _coincidences(units: Sequence[Sequence[Hashable]]) -> npt.NDArray[np.float64]:
    """Coincidence matrix of each answer, (answers, values, values)."""
    names: dict[Hashable, int] = {}
    for unit in units:
        for value in unit:
            names.setdefault(value, len(names))
    found = np.zeros((len(units), len(names), len(names)))
    for at, unit in enumerate(units):
        counts = np.bincount([names[value] for value in unit], minlength=len(names)).astype(np.float64)
        found[at] = (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return found


def _alpha(coincidences: npt.NDArray[np.float64]) -> float | None:
    """Alpha from the sum of coincidence matrices, (values, values); None where fewer than two values occur."""
    marginals = coincidences.sum(axis=1)
    if (marginals > 0).sum() < 2:
        return None
    total = marginals.sum()
    observed = total - np.trace(coincidences)
    expected = (total**2 - (marginals**2).sum()) / (total - 1)
    return float(1 - observed / expected)


def _pair(first: str, second: str, both: Sequence[tuple[Hashable, Hashable]]) -> PairAgreement:
    values = sorted({value for pair in both for value in pair}, key=str)
    shares = np.array([[sum(value == pair[side] for pair in both) for value in values] for side in (0, 1)]) / len(both)
    same = sum(a == b for a, b in both) / len(both)
    chance = float(shares[0] @ shares[1])
    kappa = None if len(values) == 1 else (same - chance) / (1 - chance)
    prevalence = dict(zip(map(str, values), map(float, shares.mean(axis=0)), strict=True))
    return PairAgreement(first, second, same, kappa, prevalence, len(both))
