"""The error of a judge against labels by people, and rates corrected for it.

A judge says of an answer that it is a case (say, a refusal) or not; people say what it is. Sensitivity is the share
of cases that the judge calls so, specificity the share of others that it does not, Youden's J their sum less 1.

Two corrections of a judged rate, each with a 95 % interval that allows for the size of the labelled set:

- `corrected_rate`: Lee et al., "How to Correctly Report LLM-as-a-Judge Evaluations" (arXiv 2511.21140), from
  Rogan and Gladen 1978. Needs sensitivity and specificity alone, so that the labelled answers may be chosen by class.
- `prediction_powered_rate`: the tuned mean of PPI++ (Angelopoulos et al., arXiv 2311.01453). Needs labelled answers
  drawn at random from those that the rate is about; there it cannot be worse than the labels alone, for large samples.

How often the intervals hold the true value: docs/results/judge-error.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from holisafe.errors import DataError
from holisafe.metrics._students_t import normal_quantile, student_quantile
from holisafe.metrics._summary import Figure
from holisafe.metrics.calibration import share_figure

LEAST_J = 0.5
"""Youden's J below which a rate is not corrected: the interval would be more than twice as wide as without errors."""

_Z = normal_quantile(0.975)

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class JudgeErrorRates:
    """How often a judge is wrong.

    Attributes:
        sensitivity: Share of cases that it calls so; None without cases.
        specificity: Share of others that it does not call cases; None without others.
        youden: Sensitivity + specificity - 1 with its interval (Newcombe 1998, method 10), in [-1, 1]; n counts all
            labelled answers. None where one of the two is None.
    """

    sensitivity: Figure | None
    specificity: Figure | None
    youden: Figure | None

    def to_json(self) -> dict[str, Any]:
        """JSON values, one key per attribute."""
        named = {"sensitivity": self.sensitivity, "specificity": self.specificity, "youden": self.youden}
        return {name: None if figure is None else figure.to_json() for name, figure in named.items()}


@dataclass(frozen=True, slots=True)
class Labelled:
    """Answers that people labelled and a judge judged.

    Attributes:
        truth: Whether people call each a case, (answers,).
        judged: Whether the judge does, (answers,).
        clusters: Index of each answer's cluster, (answers,): answers about one image are not independent.
    """

    truth: Bools
    judged: Bools
    clusters: npt.NDArray[np.int64]

    @staticmethod
    def of(truth: npt.ArrayLike, judged: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> Labelled:
        """Arrays of one length; without clusters, every answer is one.

        Raises:
            DataError: The lengths differ.
        """
        truths, calls = np.asarray(truth, dtype=np.bool_), np.asarray(judged, dtype=np.bool_)
        groups = np.arange(len(truths)) if clusters is None else np.asarray(clusters)
        if not truths.shape == calls.shape == groups.shape or truths.ndim != 1:
            raise DataError(
                f"expected labels, verdicts and clusters (answers,); found {truths.shape}, {calls.shape}, "
                f"{groups.shape}"
            )
        _, indices = np.unique(groups, return_inverse=True)
        return Labelled(truths, calls, indices.astype(np.int64))


def judge_error(labelled: Labelled) -> JudgeErrorRates:
    """Sensitivity, specificity and Youden's J with 95 % intervals."""
    truth, judged, clusters = labelled.truth, labelled.judged, labelled.clusters
    hits = share_figure(judged[truth], clusters[truth])
    clear = share_figure(~judged[~truth], clusters[~truth])
    if hits is None or clear is None:
        return JudgeErrorRates(hits, clear, None)
    value = hits.value + clear.value - 1
    down = float(np.hypot(hits.value - hits.low, clear.value - clear.low))
    up = float(np.hypot(hits.high - hits.value, clear.high - clear.value))
    return JudgeErrorRates(hits, clear, Figure(value, max(value - down, -1.0), min(value + up, 1.0), len(truth)))


@dataclass(frozen=True, slots=True)
class Correction:
    """A corrected rate, or why there is none.

    Attributes:
        figure: The rate in [0, 1] with its 95 % interval; None where it is refused.
        refused: Why there is none; empty where there is one.
    """

    figure: Figure | None
    refused: str = ""

    def to_json(self) -> dict[str, Any]:
        """`{figure, refused}`."""
        return {"figure": None if self.figure is None else self.figure.to_json(), "refused": self.refused}


def corrected_rate(
    judged: npt.ArrayLike, labelled: Labelled, clusters: npt.ArrayLike | None = None, *, least_j: float = LEAST_J
) -> Correction:
    """The rate of cases among answers without labels, by the estimator and interval of Lee et al.

    (p + specificity - 1) / J, cut to [0, 1]. Counts are divided by their design effect where answers share clusters.

    Args:
        judged: Whether the judge calls each answer a case, (answers,).
        labelled: Other answers, with labels.
        clusters: Index of each answer's cluster, (answers,); every answer is one if not given.
        least_j: Youden's J below which the rate is refused.
    """
    calls = np.asarray(judged, dtype=np.bool_)
    groups = np.arange(len(calls)) if clusters is None else np.asarray(clusters)
    truth = labelled.truth
    if not len(calls):
        return Correction(None, "no answers without labels")
    if truth.all() or not truth.any():
        missing = "others than cases" if len(truth) and truth.all() else "cases"
        return Correction(None, f"the labelled answers hold no {missing}")
    hits, clear = labelled.judged[truth], ~labelled.judged[~truth]
    q1, q0, p = float(hits.mean()), float(clear.mean()), float(calls.mean())
    if q1 + q0 - 1 < least_j:
        return Correction(None, f"Youden's J is {q1 + q0 - 1:.2f}, below {least_j:g}")
    n = len(calls) / design_effect(calls, groups)
    m1 = len(hits) / design_effect(hits, labelled.clusters[truth])
    m0 = len(clear) / design_effect(clear, labelled.clusters[~truth])
    value = float(np.clip((p + q0 - 1) / (q1 + q0 - 1), 0, 1))
    low, high = _lee_interval(p, q0, q1, (n, m0, m1))
    return Correction(Figure(value, min(low, value), max(high, value), len(calls)))


def _lee_interval(p: float, q0: float, q1: float, sizes: tuple[float, float, float]) -> tuple[float, float]:
    """Section 3 of arXiv 2511.21140: adjusted as by Agresti and Coull, with a shift for the skewness."""
    n, m0, m1 = sizes
    p, n = (n * p + _Z**2 / 2) / (n + _Z**2), n + _Z**2
    q0, m0 = (m0 * q0 + 1) / (m0 + 2), m0 + 2
    q1, m1 = (m1 * q1 + 1) / (m1 + 2), m1 + 2
    youden = q0 + q1 - 1
    theta = float(np.clip((p + q0 - 1) / youden, 0, 1))
    v0, v1 = q0 * (1 - q0) / m0, q1 * (1 - q1) / m1
    shift = 2 * _Z**2 * (-(1 - theta) * v0 + theta * v1)
    error = float(np.sqrt(p * (1 - p) / n + (1 - theta) ** 2 * v0 + theta**2 * v1)) / youden
    low, high = np.clip((theta + shift - _Z * error, theta + shift + _Z * error), 0, 1)
    return float(low), float(high)


def prediction_powered_rate(
    judged: npt.ArrayLike, labelled: Labelled, clusters: npt.ArrayLike | None = None
) -> Correction:
    """The rate of cases among answers of which those with labels were drawn at random: PPI++ for a mean.

    mean(truth) - weight * (mean(judged, labelled) - mean(judged, the rest)); the weight in [0, 1] gives the least
    variance, 0 being the labels alone. The variance is that of whole clusters; Student's quantile is taken, after four
    labelled answers more, two of them cases, half of them right (after Agresti and Coull 1998).

    Args:
        judged: Whether the judge calls each answer without a label a case, (answers,).
        labelled: The answers with labels.
        clusters: Index of each answer's cluster, (answers,); every answer is one if not given.
    """
    calls = np.asarray(judged, dtype=np.float64)
    groups = np.arange(len(calls)) if clusters is None else np.asarray(clusters)
    truth, others = labelled.truth.astype(np.float64), labelled.judged.astype(np.float64)
    if not len(calls):
        return Correction(None, "no answers without labels")
    if len(np.unique(labelled.clusters)) < 2:
        return Correction(None, "fewer than two labelled answers that are independent")
    weight = _weight(truth, others, calls)
    value = float(np.clip(truth.mean() - weight * (others.mean() - calls.mean()), 0, 1))
    last = int(labelled.clusters.max()) + 1
    truth, others = np.append(truth, _MORE_TRUTH), np.append(others, _MORE_JUDGED)
    belongs = np.append(labelled.clusters, np.arange(last, last + len(_MORE_TRUTH)))
    weight = _weight(truth, others, calls)
    centre = truth.mean() - weight * (others.mean() - calls.mean())
    variance = _variance(truth - weight * others, belongs) + weight**2 * _variance(calls, groups)
    reach = float(student_quantile(0.975, len(np.unique(belongs)) - 1)) * float(np.sqrt(variance))
    low, high = np.clip((centre - reach, centre + reach), 0, 1)
    return Correction(Figure(value, min(float(low), value), max(float(high), value), len(calls) + len(labelled.truth)))


_MORE_TRUTH = np.array([1.0, 1.0, 0.0, 0.0])
_MORE_JUDGED = np.array([1.0, 0.0, 1.0, 0.0])


def _weight(truth: Floats, judged: Floats, rest: Floats) -> float:
    spread = float(np.var(np.append(judged, rest)))
    if spread == 0:
        return 0.0
    shared = float(((truth - truth.mean()) * (judged - judged.mean())).mean())
    return float(np.clip(shared / (spread * (1 + len(truth) / len(rest))), 0, 1))


def _variance(values: Floats, clusters: npt.NDArray[Any]) -> float:
    """Variance of a mean, from the residuals of whole clusters."""
    _, belongs = np.unique(clusters, return_inverse=True)
    sums = np.bincount(belongs, weights=values - values.mean())
    return float((sums**2).sum()) / len(values) ** 2 * len(sums) / max(len(sums) - 1, 1)


def design_effect(holds: Bools, clusters: npt.NDArray[Any]) -> float:
    """Variance of a share as a multiple of what it were without clusters; at least 1."""
    values = holds.astype(np.float64)
    independent = float(values.var()) / len(values) * len(values) / max(len(values) - 1, 1)
    return max(_variance(values, clusters) / independent, 1.0) if independent else 1.0
