"""Fitting a guard's temperatures and thresholds on held-out records, and measuring what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from holisafe.calibration.report import CalibrationReport, Fit, HeadReport
from holisafe.errors import DataError, GuardError
from holisafe.guard import Calibration
from holisafe.metrics import (
    Figure,
    auprc,
    auroc,
    bootstrap_figure,
    conformal_spread,
    conformal_threshold,
    equal_mass_calibration_error,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    per_class,
    reliability_curve,
    softmax,
)
from holisafe.taxonomy import HEAD_ORDER, Combination, GuardLabel

_MARGIN = 1e-6  # a threshold's distance from the scores below it: what is lost to rounding does not decide


def calibrate(
    image_logits: npt.ArrayLike | None = None,
    image_labels: npt.ArrayLike | None = None,
    joint_logits: npt.ArrayLike | None = None,
    joint_labels: npt.ArrayLike | None = None,
    *,
    flag_rate: float = 0.05,
    data: str = "",
    image_clusters: Sequence[str] | None = None,
    joint_clusters: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[Calibration, CalibrationReport]:
    """Fit temperatures and thresholds on held-out records, and measure what they do.

    The records are cut in two, whole clusters and each label evenly, by a draw with a fixed seed:

    - the first half sets the temperature;
    - the second half, which the temperature has not seen, sets the threshold. A temperature fitted on the same
      records would let their scores depend on each other (it can reorder P(safe) among 20 labels), and void the
      guarantee: of the safe images to come, drawn as these were, at most `flag_rate` are flagged in expectation
      (`conformal_threshold`, which has the source and the limits). Of each cluster one safe record, drawn at
      random, counts: records that share an image are not exchangeable with those of a new one.

    Each figure of the report is measured on the half that did not set it: calibration errors, AUROC, AUPRC and the
    scores by label on the second, the shares flagged on the first. Thresholds lie 1e-6 above what the guarantee
    asks, so that rounding on another machine flags nothing more.

    Give records the guard was not trained on. At least one of the two heads must be given.

    Args:
        image_logits: Logits of the image head, (images, 20), in `HEAD_ORDER`.
        image_labels: Index of each image's label in `HEAD_ORDER`, (images,).
        joint_logits: Logits of the joint head's combinations, (requests, 5), in the order of `Combination`.
        joint_labels: Index of each request's combination, (requests,).
        flag_rate: Largest share of safe images, and of safe requests, to flag, in (0, 1).
        data: Fingerprint of the data set.
        image_clusters: Name of each image's cluster; each is its own when None.
        joint_clusters: Name of each request's cluster; each is its own when None.
        seed: Seed of the halves and of the resamples.
        resamples: Resamples of the clusters behind each interval.

    Raises:
        DataError: The arrays do not belong together or hold what they must not, or there are too few safe records in
            the second half to promise the flag rate (at least 1 / flag_rate - 1, in as many clusters).
        GuardError: More safe records than may be flagged have a probability of unsafe of 1.
    """
    image = _head("image", image_logits, image_labels, [label.value for label in HEAD_ORDER], image_clusters)
    joint = _head("joint", joint_logits, joint_labels, [name.value for name in Combination], joint_clusters)
    counted = image or joint
    if counted is None:
        raise DataError("there is nothing to calibrate on; give image_logits and image_labels, or the joint ones")
    draws = _Draws(flag_rate, seed, resamples)
    of_image, of_joint = (None if head is None else _calibrate_head(head, draws) for head in (image, joint))
    calibration = Calibration(
        temperature=of_image.temperature if of_image else 1.0,
        threshold=of_image.threshold if of_image else 0.5,
        flag_rate=flag_rate,
        joint_temperature=of_joint.temperature if of_joint else 1.0,
        joint_threshold=of_joint.threshold if of_joint else 0.5,
        records=len(counted.labels),
        safe_records=int((counted.labels == _SAFE).sum()),
        data=data,
    )
    return calibration, CalibrationReport(calibration, of_image, of_joint)


_SAFE = GuardLabel.SAFE.index  # SSS is the first combination, too


@dataclass(frozen=True, slots=True)
class _Head:
    """Records of one head: logits (records, labels), labels and cluster indices (records,), names of the labels."""

    what: str
    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.int64]
    names: Sequence[str]

    def only(self, kept: npt.NDArray[np.bool_]) -> _Head:
        clusters = _numbered(self.clusters[kept])
        return _Head(self.what, self.logits[kept], self.labels[kept], clusters, self.names)

    @property
    def safe(self) -> npt.NDArray[np.bool_]:
        """Whether each record is safe."""
        return np.asarray(self.labels == _SAFE)

    def unsafe_scores(self, temperature: float) -> npt.NDArray[np.float64]:
        """The verdict's own score: 1 - P(safe)."""
        return np.asarray(1 - softmax(self.logits, temperature)[:, _SAFE], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _Draws:
    flag_rate: float
    seed: int
    resamples: int


def _head(
    what: str,
    logits: npt.ArrayLike | None,
    labels: npt.ArrayLike | None,
    names: Sequence[str],
    clusters: Sequence[str] | None,
) -> _Head | None:
    if logits is None and labels is None:
        return None
    if logits is None or labels is None:
        raise DataError(f"{what}_logits and {what}_labels go together; give both or neither")
    values, right = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise DataError(f"{what}_logits has shape {values.shape}; expected (records, {len(names)})")
    try:
        negative_log_likelihood(values, right)  # checks what both must be
    except DataError as error:
        raise DataError(f"{what} head: {error}") from None
    if clusters is not None and len(clusters) != len(right):
        raise DataError(f"expected one of {what}_clusters per record, found {len(clusters)} for {len(right)}")
    belongs = np.arange(len(right)) if clusters is None else _numbered(np.asarray(clusters, dtype=np.str_))
    return _Head(what, values, right.astype(np.int64), belongs, names)


def _calibrate_head(head: _Head, draws: _Draws) -> HeadReport:
    first_half = _first_half(head, draws.seed)
    if first_half.all() or not first_half.any():
        raise DataError(f"{head.what} head: its records are of one cluster, and cannot be cut in two; give more")
    fitted, held = head.only(first_half), head.only(~first_half)
    temperature = fit_temperature(fitted.logits, fitted.labels)
    safe_scores = _one_per_cluster(held, held.unsafe_scores(temperature), draws.seed)
    threshold = _threshold(head.what, safe_scores, draws.flag_rate)
    before, after = (_fit(held, value) for value in (1.0, temperature))
    scores = held.unsafe_scores(temperature)
    predictions = held.logits.argmax(axis=1)
    return HeadReport(
        temperature=temperature,
        threshold=threshold,
        flag_rate=draws.flag_rate,
        expected_flag_rate=conformal_spread(len(safe_scores), draws.flag_rate),
        fitted=len(fitted.labels),
        held=len(held.labels),
        safe_scores=len(safe_scores),
        before=before,
        after=after,
        auroc=_ranking(auroc, held, scores, draws),
        auprc=_ranking(auprc, held, scores, draws),
        unsafe_share=float((~held.safe).mean()),
        flagged_safe=_flagged(fitted.only(fitted.safe), temperature, threshold, draws),
        flagged_unsafe=_flagged(fitted.only(~fitted.safe), temperature, threshold, draws),
        per_class=dict(zip(head.names, per_class(predictions, held.labels, len(head.names)), strict=True)),
    )


def _first_half(head: _Head, seed: int) -> npt.NDArray[np.bool_]:
    """Which records set the temperature: of each label's clusters, every other one in a drawn order.

    A cluster of several labels goes with its first record's.
    """
    clusters, firsts = np.unique(head.clusters, return_index=True)
    drawn = np.random.default_rng(seed).permutation(len(clusters))
    by_label = drawn[np.argsort(head.labels[firsts[drawn]], kind="stable")]
    chosen = np.zeros(len(clusters), dtype=np.bool_)
    chosen[by_label[1::2]] = True  # the odd one out goes to the threshold, which needs records most
    return np.asarray(chosen[head.clusters])


def _one_per_cluster(held: _Head, scores: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    """Score of one safe record of each cluster, drawn at random."""
    drawn = np.random.default_rng([seed, 1]).permutation(np.flatnonzero(held.safe))
    _, firsts = np.unique(held.clusters[drawn], return_index=True)
    return np.asarray(scores[drawn[firsts]], dtype=np.float64)


def _threshold(what: str, safe_scores: npt.NDArray[np.float64], flag_rate: float) -> float:
    try:
        threshold = conformal_threshold(safe_scores, flag_rate) + _MARGIN
    except DataError as error:
        raise DataError(f"{what} head, in the half of the data that sets the threshold: {error}") from None
    if threshold > 1:
        raise GuardError(
            f"{what} head: it calls more than {flag_rate:.1%} of safe records unsafe with probability 1, so no "
            "threshold keeps to the flag rate; train it further, check the labels, or allow a larger flag_rate"
        )
    return threshold


def _fit(held: _Head, temperature: float) -> Fit:
    probabilities = softmax(held.logits, temperature)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == held.labels
    return Fit(
        nll=negative_log_likelihood(held.logits, held.labels, temperature),
        ece=expected_calibration_error(confidence, correct),
        ece_equal_mass=equal_mass_calibration_error(confidence, correct),
        curve=tuple(reliability_curve(confidence, correct)),
    )


def _ranking(
    measure: Callable[[npt.ArrayLike, npt.ArrayLike], float | None],
    held: _Head,
    scores: npt.NDArray[np.float64],
    draws: _Draws,
) -> Figure | None:
    unsafe = ~held.safe
    rarer = min(len(np.unique(held.clusters[unsafe])), len(np.unique(held.clusters[~unsafe])))
    return bootstrap_figure(
        lambda chosen: measure(scores[chosen], unsafe[chosen]),
        held.clusters,
        independent=max(rarer, 1),
        resamples=draws.resamples,
        seed=draws.seed,
    )


def _flagged(records: _Head, temperature: float, threshold: float, draws: _Draws) -> Figure | None:
    if not len(records.labels):
        return None
    flagged = records.unsafe_scores(temperature) >= threshold
    return bootstrap_figure(
        lambda chosen: float(flagged[chosen].mean()),
        records.clusters,
        independent=int(records.clusters.max()) + 1,
        resamples=draws.resamples,
        seed=draws.seed,
    )


def _numbered(names: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Index of each name among the different ones, in their order."""
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.int64)
