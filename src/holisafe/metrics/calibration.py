"""Whether a classifier's probabilities mean what they say, how well they rank, and thresholds with a guarantee.

Arrays in, numbers out; `holisafe.calibration` applies them to guards. A figure that is undefined is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from holisafe.errors import DataError
from holisafe.metrics._intervals import LEVEL, rate_intervals
from holisafe.metrics._students_t import student_quantile
from holisafe.metrics._summary import Figure

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Probabilities over the last axis of logits / temperature, in double precision."""
    return np.asarray(special.softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1), dtype=np.float64)


def negative_log_likelihood(logits: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Mean of -log of the probability given to the right label, in nats.

    Args:
        logits: (records, labels).
        labels: Index of the right label, (records,).
        temperature: What the logits are divided by.

    Raises:
        DataError: The arrays do not belong together, are empty or not finite.
    """
    values, right = classified(logits, labels)
    logs = special.log_softmax(values / temperature, axis=1)
    return float(-logs[np.arange(len(right)), right].mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Records of like confidence: what was claimed of them and what was so.

    Attributes:
        low: Lower edge, in [0, 1]; belongs to the bin in the first bin only.
        high: Upper edge, which belongs to the bin.
        confidence: Their mean confidence.
        accuracy: Share of them that were right, with its 95 % interval and their count.
    """

    low: float
    high: float
    confidence: float
    accuracy: Figure


def reliability_curve(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> list[ReliabilityBin]:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017, arXiv 1706.04599, section 2).

    Args:
        confidence: Probability given to what was predicted, (records,), in [0, 1].
        correct: Whether it was right, (records,).
        bins: How many bins [0, 1] is cut into.

    Returns:
        The bins that hold records, lowest first.

    Raises:
        DataError: The arrays do not belong together, are empty, or hold what is no probability.
    """
    claimed, right = _claims(confidence, correct, bins)
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, claimed, side="left") - 1, 0, bins - 1)
    return [
        _bin(float(edges[place]), float(edges[place + 1]), claimed[places == place], right[places == place])
        for place in np.unique(places)
    ]


def equal_mass_reliability_curve(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15
) -> list[ReliabilityBin]:
    """As `reliability_curve`, with bins of about equally many records: their edges are those of the records.

    Records of the same confidence share a bin, so that the order of the records does not matter.
    """
    claimed, right = _claims(confidence, correct, bins)
    from scipy import stats  # takes long to be imported

    places = np.ceil(stats.rankdata(claimed, method="max") * bins / len(claimed)).astype(np.int64)
    found = []
    for place in np.unique(places):
        inside = places == place
        found.append(_bin(float(claimed[inside].min()), float(claimed[inside].max()), claimed[inside], right[inside]))
    return found


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over bins of equal width, weighted by their records; in [0, 1].

    Biased upwards where bins hold few records. Arguments and errors as for `reliability_curve`.
    """
    return _mean_gap(reliability_curve(confidence, correct, bins))


def equal_mass_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 15) -> float:
    """As `expected_calibration_error`, over bins of equally many records: steadier where most confidences are alike."""
    return _mean_gap(equal_mass_reliability_curve(confidence, correct, bins))


def auroc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float | None:
    """Chance that a positive record scores above a negative one, ties counted half; None without records of either.

    Args:
        scores: Higher for what is thought positive, (records,).
        positive: Whether it is, (records,).

    Raises:
        DataError: The arrays do not belong together, are empty or not finite.
    """
    values, truth = _scored(scores, positive)
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return None
    from scipy import stats  # takes long to be imported

    above = stats.rankdata(values)[truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def auprc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float | None:
    """Average precision: mean over the positives of the precision at the score where each is found.

    The step-wise area under the precision-recall curve, without interpolation. Equal scores are found together. A
    ranking by chance has the share of positives. None without positives. Arguments and errors as for `auroc`.
    """
    values, truth = _scored(scores, positive)
    if not truth.any():
        return None
    order = np.argsort(-values, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    found = truth[order].cumsum()[last_of_ties]
    precision = found / (last_of_ties + 1)
    return float((precision * np.diff(found, prepend=0)).sum() / found[-1])


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How well one label is found.

    Attributes:
        precision: Share of the records given the label that bear it; None where none was given it.
        recall: Share of the records that bear it that were given it; None where none bears it.
        f1: Harmonic mean of the two, 0 where nothing was found; None where no record bears the label.
        support: Records that bear the label.
        predicted: Records that were given it.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    predicted: int

    def to_json(self) -> dict[str, float | int | None]:
        """`{precision, recall, f1, support, predicted}`, null where undefined."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "support": self.support,
            "predicted": self.predicted,
        }


def per_class(predictions: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> list[ClassScores]:
    """Precision, recall and F1 of each label.

    Args:
        predictions: Index of the label given, (records,).
        labels: Index of the right label, (records,).
        classes: How many labels there are.

    Raises:
        DataError: The arrays do not belong together, or hold what is no index of a label.
    """
    given, right = (
        _indices(name, array, classes) for name, array in (("predictions", predictions), ("labels", labels))
    )
    if len(given) != len(right):
        raise DataError(f"expected one prediction per label, found {len(given)} for {len(right)} labels")
    hits = np.bincount(right[given == right], minlength=classes).tolist()
    supports = np.bincount(right, minlength=classes).tolist()
    counts = np.bincount(given, minlength=classes).tolist()
    return [
        ClassScores(
            precision=hit / predicted if predicted else None,
            recall=hit / support if support else None,
            f1=2 * hit / (support + predicted) if support else None,
            support=support,
            predicted=predicted,
        )
        for hit, support, predicted in zip(hits, supports, counts, strict=True)
    ]


def conformal_threshold(safe_scores: npt.ArrayLike, flag_rate: float) -> float:
    """The smallest threshold that flags at most a given share of safe records, whatever the scores' distribution.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World"; Angelopoulos
    and Bates 2021, arXiv 2107.07511, section 1, proof in appendix D). If the n scores and that of a new safe record are
    exchangeable, and the function that gives the scores was fixed without them, then

        P(score of the new safe record >= threshold) <= flag_rate,

    with ties too. It is a mean over draws of the n records and the new one: given these n, the share of safe records
    flagged from now on scatters around it (`conformal_spread`). It promises nothing on data that are not like these,
    and nothing on unsafe records.

    The threshold lies just above the score of rank ceil((n + 1)(1 - flag_rate)), because a score that reaches the
    threshold is flagged.

    Args:
        safe_scores: Scores of safe records, higher for what is thought unsafe, (records,).
        flag_rate: Largest share of safe records to flag, in (0, 1).

    Raises:
        DataError: The scores are empty or not finite; or there are fewer than 1 / flag_rate - 1 of them, so that only
            a threshold that never flags would keep the promise.
    """
    scores = np.sort(_finite("safe_scores", safe_scores, 1))
    allowed = _allowed(len(scores), flag_rate)
    return float(np.nextafter(scores[len(scores) - allowed], math.inf))


def conformal_spread(safe_records: int, flag_rate: float) -> tuple[float, float]:
    """Where the share of safe records that a conformal threshold flags lies, in 95 % of draws of the records behind it.

    The share has a beta distribution where no scores are tied, and is lower where some are (Vovk 2012, arXiv
    1209.2673; Angelopoulos and Bates 2021, arXiv 2107.07511, section 3.2).

    Raises:
        DataError: There are fewer than 1 / flag_rate - 1 records, or flag_rate is not in (0, 1).
    """
    allowed = _allowed(safe_records, flag_rate)
    from scipy import stats  # takes long to be imported

    low, high = stats.beta.interval(LEVEL, allowed, safe_records + 1 - allowed)
    return float(low), float(high)


def share_figure(holds: npt.ArrayLike, clusters: npt.ArrayLike) -> Figure | None:
    """Share of records for which something holds, with the interval of all rates; None without records.

    Args:
        holds: Whether it holds, (records,).
        clusters: Index of each record's cluster, (records,).
    """
    truths = np.asarray(holds, dtype=np.bool_)
    if not truths.size:
        return None
    _, belongs = np.unique(np.asarray(clusters), return_inverse=True)
    hits, totals = np.bincount(belongs, weights=truths), np.bincount(belongs)
    return _rate(hits, totals)


def bootstrap_figure(
    statistic: Callable[[Ints], float | None],
    clusters: npt.ArrayLike,
    *,
    independent: int,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure | None:
    """A statistic that is no rate, with its 95 % interval from a bootstrap; None where the statistic is None.

    Whole clusters are drawn with replacement. The percentiles are taken at the normal tail of sqrt(n / (n - 1)) times
    Student's quantile for n independent clusters (Hesterberg 2015, "What teachers should know about the bootstrap",
    section 5.3). Where all resamples agree, the interval is that of a rate over the independent clusters.

    Args:
        statistic: Value for the records at given indices (some twice, some not at all), in [0, 1].
        clusters: Index of each record's cluster, (records,), from 0 on without gaps.
        independent: Clusters that decide about the value, such as those of the rarer class.
        resamples: How many resamples to draw.
        seed: Seed of the draws.
    """
    belongs = np.asarray(clusters, dtype=np.int64)
    records = np.arange(len(belongs))
    value = statistic(records) if len(records) else None
    if value is None:
        return None
    generator = np.random.default_rng(seed)
    count = int(belongs.max()) + 1
    drawn = []
    for _ in range(resamples):
        times = np.bincount(generator.integers(0, count, size=count), minlength=count)
        found = statistic(np.repeat(records, times[belongs]))
        drawn += [] if found is None else [found]
    freedom = max(independent - 1, 1)
    tail = special.ndtr(float(student_quantile(0.5 - LEVEL / 2, freedom)) * math.sqrt((freedom + 1) / freedom))
    low, high = np.quantile(drawn or [value], [tail, 1 - tail]).tolist()
    if high - low <= 1e-9:
        flat = _rate(np.full(independent, value), np.ones(independent))
        low, high = flat.low, flat.high
    return Figure(value, min(low, value), max(high, value), len(records))


def _rate(hits: npt.ArrayLike, totals: npt.ArrayLike) -> Figure:
    """Rate from hits and totals within clusters, (clusters,)."""
    found = rate_intervals(np.asarray(hits)[:, None, None], np.asarray(totals)[:, None, None])
    return Figure(float(found.values[0]), float(found.lows[0]), float(found.highs[0]), int(np.sum(totals)))


def _allowed(safe_records: int, flag_rate: float) -> int:
    """How many of n + 1 safe records may be flagged."""
    if not 0 < flag_rate < 1:
        raise DataError(f"flag_rate is {flag_rate}; expected a share above 0 and below 1, such as 0.05")
    allowed = math.floor((safe_records + 1) * flag_rate + 1e-9)  # 100 * 0.29 is 28.999999999999996
    if not allowed:
        needed = math.ceil(1 / flag_rate - 1 - 1e-9)
        raise DataError(
            f"to promise a flag_rate of {flag_rate:g} takes at least {needed} safe records, found {safe_records}; "
            "give more safe records, or allow a larger flag_rate"
        )
    return allowed


def _bin(low: float, high: float, claimed: Floats, right: Bools) -> ReliabilityBin:
    accuracy = share_figure(right, np.arange(len(right)))
    assert accuracy is not None  # a bin holds records
    return ReliabilityBin(low, high, float(claimed.mean()), accuracy)


def _mean_gap(curve: list[ReliabilityBin]) -> float:
    gaps = (abs(part.confidence - part.accuracy.value) * part.accuracy.n for part in curve)
    return math.fsum(gaps) / sum(part.accuracy.n for part in curve)


def classified(logits: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Ints]:
    """Logits, (records, labels), and the index of each record's label, (records,), checked.

    Raises:
        DataError: The arrays do not belong together, are empty or not finite.
    """
    values = _finite("logits", logits, 2)
    right = _indices("labels", labels, values.shape[1])
    if len(values) != len(right):
        raise DataError(f"expected one label per row of logits, found {len(right)} for {len(values)} rows")
    return values, right


def _claims(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int) -> tuple[Floats, Bools]:
    if bins < 1:
        raise DataError(f"bins is {bins}; expected 1 or more")
    claimed, right = _scored(confidence, correct)
    if claimed.min() < 0 or claimed.max() > 1:
        raise DataError(f"confidence reaches from {claimed.min():g} to {claimed.max():g}; expected [0, 1]")
    return claimed, right


def _scored(scores: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[Floats, Bools]:
    values, truths = _finite("scores", scores, 1), np.asarray(truth, dtype=np.bool_)
    if values.shape != truths.shape:
        raise DataError(f"expected one truth value per score, found {truths.shape} for {values.shape}")
    return values, truths


def _finite(name: str, array: npt.ArrayLike, axes: int) -> Floats:
    values = np.asarray(array, dtype=np.float64)
    if values.ndim != axes or not values.size:
        raise DataError(f"{name} has shape {values.shape}; expected {axes} axes and at least one record")
    if bad := np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1)).tolist():
        raise DataError(f"{name} of {len(bad)} records are not finite (first: record {bad[0]}); leave them out")
    return values


def _indices(name: str, array: npt.ArrayLike, classes: int) -> Ints:
    values = np.asarray(array)
    if values.ndim != 1 or not (np.issubdtype(values.dtype, np.integer) or not values.size):
        raise DataError(f"{name} are {values.dtype} of shape {values.shape}; expected one whole number per record")
    if bad := np.flatnonzero((values < 0) | (values >= classes)).tolist():
        raise DataError(f"{name} of record {bad[0]} is {values[bad[0]]}; expected 0 to {classes - 1}")
    return values.astype(np.int64)
