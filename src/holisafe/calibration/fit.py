"""Fitting a guard's temperatures and thresholds on held-out records, and measuring what they do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from holisafe.calibration._head import HeadRecords, first_half_of, read_head
from holisafe.calibration.report import CalibrationReport, Fit, FlagRow, HeadReport
from holisafe.errors import DataError, GuardError
from holisafe.guard import Calibration
from holisafe.metrics import (
    Figure,
    Temperature,
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
    share_figure,
    softmax,
)
from holisafe.taxonomy import HEAD_ORDER, Combination

_log = logging.getLogger(__name__)

FLAG_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Targets of the table of thresholds."""

ENOUGH_SAFE = 200
"""Safe records below which the report says that they are few."""

_MARGIN = 1e-6  # a threshold's distance from the scores below it: what is lost to rounding does not decide


def fit_calibration(
    image_logits: Any = None,
    image_labels: Any = None,
    joint_logits: Any = None,
    joint_labels: Any = None,
    *,
    flag_rate: float = 0.05,
    threshold: float | None = None,
    joint_threshold: float | None = None,
    data: str = "",
    image_clusters: Sequence[str] | None = None,
    joint_clusters: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[Calibration, CalibrationReport]:
    """Fit temperatures and thresholds on held-out records, and measure what they do.

    The records are split in two halves: whole clusters, each label evenly, with a fixed seed.

    Temperature: fitted by maximum likelihood on the first half, and kept only if fitting one helps on records that it
    has not seen: neither NLL nor ECE of all records may be worse when each is scaled by the temperature that the other
    half gives. Else it is 1. It is 1, too, where the records do not determine one: they have one label only, or the
    search ends at its bound.

    Threshold: the smallest that flags at most `flag_rate` of safe records in expectation (`conformal_threshold` has
    the source and the limits). The scores must not depend on the records that set it, so these are the second half
    where a temperature was fitted, and all records where it is 1. Of each cluster one safe record, drawn at random,
    counts: records that share an image are not exchangeable with those of a new one. The threshold is 1e-6 above the
    score, so that rounding on another machine flags nothing more.

    Shares of safe records flagged are measured on records that did not set the threshold: on the first half, and
    where all records set it, on each half with the threshold that the other would set. Unsafe records never set a
    threshold: their shares are of all of them. NLL and ECE are of all records, ranking and labels of the second half.

    Args:
        image_logits: Logits of the image head, (images, 20), in `HEAD_ORDER`: a NumPy array, lists, or a torch tensor
            of any dtype, on any device.
        image_labels: Label of each image, (images,): its index in `HEAD_ORDER`, or its name.
        joint_logits: Logits of the joint head's combinations, (requests, 5), in the order of `Combination`.
        joint_labels: Combination of each request, (requests,): its index, or its name.
        flag_rate: Largest share of safe images, and of safe requests, to flag, in (0, 1).
        threshold: Threshold of the image head, in [0, 1], instead of one for `flag_rate`.
        joint_threshold: The same of the joint head.
        data: Fingerprint of the data set.
        image_clusters: Name of each image's cluster; each is its own when None.
        joint_clusters: Name of each request's cluster; each is its own when None.
        seed: Seed of the halves and of the resamples.
        resamples: Resamples of the clusters behind each interval of the temperature, AUROC and AUPRC.

    Raises:
        DataError: The arrays do not belong together or hold what they must not, or there are too few safe records for
            the flag rate (at least 1 / flag_rate - 1, in as many clusters).
        GuardError: More safe records than may be flagged have a probability of unsafe of 1, or a threshold is no
            probability.
    """
    Calibration(  # refuses what is out of range
        flag_rate=flag_rate,
        threshold=0.5 if threshold is None else threshold,
        joint_threshold=0.5 if joint_threshold is None else joint_threshold,
    )
    image = read_head("image", image_logits, image_labels, [label.value for label in HEAD_ORDER], image_clusters)
    joint = read_head("joint", joint_logits, joint_labels, [name.value for name in Combination], joint_clusters)
    counted = image or joint
    if counted is None:
        raise DataError("there is nothing to calibrate on; give image_logits and image_labels, or the joint ones")
    for head, by_hand, option in ((image, threshold, "threshold"), (joint, joint_threshold, "joint_threshold")):
        if head is None and by_hand is not None:
            raise DataError(f"{option} was given, but no logits of that head; leave it out")
    of_image = None if image is None else _calibrate_head(image, _Settings(flag_rate, threshold, seed, resamples))
    of_joint = None if joint is None else _calibrate_head(joint, _Settings(flag_rate, joint_threshold, seed, resamples))
    calibration = Calibration(
        temperature=of_image.temperature if of_image else 1.0,
        threshold=of_image.threshold if of_image else 0.5,
        flag_rate=of_image.flag_rate if of_image else None,
        measured_flag_rate=_value(of_image.flagged_safe) if of_image else None,
        joint_temperature=of_joint.temperature if of_joint else 1.0,
        joint_threshold=of_joint.threshold if of_joint else 0.5,
        joint_flag_rate=of_joint.flag_rate if of_joint else None,
        joint_measured_flag_rate=_value(of_joint.flagged_safe) if of_joint else None,
        records=len(counted.labels),
        safe_records=int(counted.safe.sum()),
        data=data,
    )
    report = CalibrationReport(calibration, of_image, of_joint)
    for warning in report.warnings:
        _log.warning("%s", warning)
    return calibration, report


def fit_output(
    logits: Any,
    labels: Any,
    *,
    clusters: Sequence[str] | None = None,
    flag_rate: float = 0.05,
    threshold: float | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> HeadReport:
    """Fit temperature and threshold of an output head on answers, as `fit_calibration` does for the other heads.

    Args:
        logits: Logits of harmless and harmful, (answers, 2).
        labels: 0 for a harmless answer, 1 for a harmful one, (answers,).
        clusters: Name of each answer's cluster; each is its own when None.
        flag_rate: Largest share of harmless answers to flag, in (0, 1).
        threshold: Threshold to use instead, in [0, 1].
        seed: Seed of the halves and of the resamples.
        resamples: Resamples of the clusters behind each interval.

    Raises:
        DataError: As `fit_calibration`.
        GuardError: As `fit_calibration`.
    """
    Calibration(output_flag_rate=flag_rate, output_threshold=0.5 if threshold is None else threshold)
    head = read_head("output", logits, labels, ("harmless", "harmful"), clusters)
    if head is None:
        raise DataError("there is nothing to calibrate on; give logits and labels")
    return _calibrate_head(head, _Settings(flag_rate, threshold, seed, resamples))


@dataclass(frozen=True, slots=True)
class _Settings:
    flag_rate: float
    by_hand: float | None
    seed: int
    resamples: int


def _calibrate_head(head: HeadRecords, settings: _Settings) -> HeadReport:
    if settings.by_hand is None and not head.safe.any():
        raise DataError(
            f"{head.what} head: all {len(head.labels)} {head.noun} are unsafe, and a threshold is set by safe ones; "
            f"add safe {head.noun} (200 or more are best), or set a threshold by hand"
        )
    first_half = first_half_of(head, settings.seed)
    if first_half.all() or not first_half.any():
        raise DataError(f"{head.what} head: its records are of one cluster, and cannot be cut in two; give more")
    fitted, held = head.only(first_half), head.only(~first_half)
    before = _fit(head.logits, head.labels)
    found, crossed = _fit_temperatures(head, first_half, settings)
    reason = _why_not(found, before, crossed)
    temperature = 1.0 if found is None or reason else found.value
    scores = _Scores(head, first_half, temperature, settings.seed)
    threshold = scores.threshold(settings.flag_rate) if settings.by_hand is None else settings.by_hand
    rates = sorted({*FLAG_RATES, settings.flag_rate})
    flag_rate = settings.flag_rate if settings.by_hand is None else None
    of_held = held.unsafe_scores(temperature)
    return HeadReport(
        temperature=temperature,
        fitted_temperature=found,
        temperature_reason=reason,
        threshold=threshold,
        flag_rate=flag_rate,
        expected_flag_rate=None if flag_rate is None else conformal_spread(scores.setters, flag_rate),
        fitted=len(fitted.labels),
        held=len(held.labels),
        safe_scores=scores.setters,
        before=before,
        after=before if reason or crossed is None else crossed,
        rejected=crossed if reason else None,
        auroc=_ranking(auroc, held, of_held, settings),
        auprc=_ranking(auprc, held, of_held, settings),
        unsafe_share=float((~held.safe).mean()),
        flagged_safe=scores.flagged_safe(flag_rate, threshold),
        flagged_unsafe=scores.flagged_unsafe(threshold),
        flag_rows=tuple(scores.row(rate) for rate in rates),
        per_class=dict(
            zip(head.names, per_class(held.logits.argmax(axis=1), held.labels, len(head.names)), strict=True)
        ),
        warnings=tuple(_warnings(head, found, scores, threshold, flag_rate)),
    )


def _fit_temperatures(
    head: HeadRecords, first_half: npt.NDArray[np.bool_], settings: _Settings
) -> tuple[Temperature | None, Fit | None]:
    """The temperature of the first half, and the fit of all records, each at the temperature of the other half."""
    first, second = head.only(first_half), head.only(~first_half)
    if min(len(np.unique(half.labels)) for half in (first, second)) < 2:
        return None, None
    found = fit_temperature(
        first.logits, first.labels, first.clusters, resamples=settings.resamples, seed=settings.seed
    )
    other = fit_temperature(second.logits, second.labels, resamples=0)
    temperatures = np.where(first_half, other.value, found.value)
    return found, _fit(head.logits / temperatures[:, None], head.labels)


def _why_not(found: Temperature | None, before: Fit, crossed: Fit | None) -> str:
    """Why a fitted temperature is not used; empty where it is."""
    if found is None or crossed is None:
        return "the records have one label only, which determines no temperature"
    if found.at_bound:
        return f"the search ended at its bound of {found.value:g}, so the records determine no temperature"
    worse = [
        f"{name} {was:.4f} → {became:.4f}"
        for name, was, became in (("NLL", before.nll, crossed.nll), ("ECE", before.ece, crossed.ece))
        if became > was + 1e-12
    ]
    return f"{' and '.join(worse)} on records that it was not fitted on" if worse else ""


class _Scores:
    """P(unsafe) of one head's records at its temperature, and what thresholds flag of them."""

    def __init__(self, head: HeadRecords, first_half: npt.NDArray[np.bool_], temperature: float, seed: int) -> None:
        self._head, self._first_half, self._seed = head, first_half, seed
        self._values = head.unsafe_scores(temperature)
        self.is_whole = temperature == 1.0  # nothing was fitted on the first half, which can set thresholds too
        self._setting = np.ones_like(first_half) if self.is_whole else ~first_half
        self.setters = len(self._safe_scores(self._setting))

    def threshold(self, flag_rate: float) -> float:
        return self._threshold_of(self._setting, flag_rate)

    def row(self, flag_rate: float) -> FlagRow:
        """A line of the table; without a threshold where there is none for the rate."""
        try:
            threshold = self.threshold(flag_rate)
        except (DataError, GuardError) as error:
            return FlagRow(flag_rate, None, None, None, str(error))
        return FlagRow(flag_rate, threshold, self.flagged_safe(flag_rate, threshold), self.flagged_unsafe(threshold))

    def flagged_safe(self, flag_rate: float | None, threshold: float) -> Figure | None:
        """Share of safe records flagged by thresholds that they did not set; None where there is none.

        A threshold that was set by hand, without a flag rate, was set by no record.
        """
        safe, first = self._head.safe, self._first_half
        if flag_rate is None:
            return self._share(self._values >= threshold, safe)
        if not self.is_whole:
            return self._share(self._values >= threshold, safe & first)
        flagged = np.zeros_like(safe)
        for half in (first, ~first):
            try:
                flagged[half] = self._values[half] >= self._threshold_of(~half, flag_rate)
            except (DataError, GuardError):  # too few for a threshold of their own
                return None
        return self._share(flagged, safe)

    def flagged_unsafe(self, threshold: float) -> Figure | None:
        return self._share(self._values >= threshold, ~self._head.safe)

    def _share(self, flagged: npt.NDArray[np.bool_], of: npt.NDArray[np.bool_]) -> Figure | None:
        return share_figure(flagged[of], self._head.clusters[of])

    def _safe_scores(self, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Score of one safe record of each cluster, drawn at random."""
        drawn = np.random.default_rng([self._seed, 1]).permutation(np.flatnonzero(self._head.safe & among))
        _, firsts = np.unique(self._head.clusters[drawn], return_index=True)
        return np.asarray(self._values[drawn[firsts]], dtype=np.float64)

    def _threshold_of(self, among: npt.NDArray[np.bool_], flag_rate: float) -> float:
        what = self._head.what
        scores = self._safe_scores(among)
        if not len(scores):
            raise DataError(f"{what} head: no safe records set the threshold; add safe {self._head.noun}")
        try:
            threshold = conformal_threshold(scores, flag_rate) + _MARGIN
        except DataError as error:
            raise DataError(f"{what} head, in the part of the data that sets the threshold: {error}") from None
        if threshold > 1:
            raise GuardError(
                f"{what} head: it calls more than {flag_rate:.1%} of safe records unsafe with probability 1, so no "
                "threshold keeps to the flag rate; train it further, check the labels, or allow a larger flag_rate"
            )
        return threshold


def _warnings(
    head: HeadRecords, found: Temperature | None, scores: _Scores, threshold: float, flag_rate: float | None
) -> list[str]:
    said = []
    if len(np.unique(head.labels)) < 2:
        said.append(
            f"all {head.noun} have the label {head.names[head.labels[0]]}: no temperature is fitted, and nothing is "
            "known of what is flagged of others"
        )
    if found is not None and found.at_bound:
        said.append(
            f"the temperature is not determined: the search ended at its bound of {found.value:g}; it stays 1. The "
            f"head is {'always right' if found.value < 1 else 'no better than chance'} on these {head.noun}; add "
            "harder ones, or check the labels"
        )
    safe = len(np.unique(head.clusters[head.safe]))
    if safe < ENOUGH_SAFE:
        more = ""
        if flag_rate is not None:
            low, high = conformal_spread(scores.setters, flag_rate)
            more = f": of those to come, {low:.1%} to {high:.1%} may be flagged where {flag_rate:.1%} were asked for"
        said.append(f"only {safe} independent safe {head.noun} (200 or more are best){more}")
    if threshold >= 1 - 1e-3 and flag_rate is not None:
        said.append(
            f"the threshold is {threshold:.6f}: the head is almost sure of harm in safe {head.noun}; check the labels"
        )
    return said


def _fit(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> Fit:
    probabilities = softmax(logits)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    return Fit(
        nll=negative_log_likelihood(logits, labels),
        ece=expected_calibration_error(confidence, correct),
        ece_equal_mass=equal_mass_calibration_error(confidence, correct),
        curve=tuple(reliability_curve(confidence, correct)),
    )


def _ranking(
    measure: Callable[[npt.ArrayLike, npt.ArrayLike], float | None],
    held: HeadRecords,
    scores: npt.NDArray[np.float64],
    settings: _Settings,
) -> Figure | None:
    unsafe = ~held.safe
    rarer = min(len(np.unique(held.clusters[unsafe])), len(np.unique(held.clusters[~unsafe])))
    return bootstrap_figure(
        lambda chosen: measure(scores[chosen], unsafe[chosen]),
        held.clusters,
        independent=max(rarer, 1),
        resamples=settings.resamples,
        seed=settings.seed,
    )


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value
