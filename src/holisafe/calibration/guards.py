"""Calibrating a model's guard: one prefill of each held-out record, and what the guard outputs in it."""

from __future__ import annotations

import logging
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from holisafe.calibration import CalibrationReport, fit_calibration
from holisafe.datasets import fingerprint
from holisafe.errors import DataError, GuardError, ImageError, ModelError
from holisafe.guard import Calibration, calibration_of, guard_of
from holisafe.images import identify
from holisafe.models import Answer, Engine, GenerationOptions, Request
from holisafe.models.prompts import Prompt
from holisafe.records import GuardVerdict, Sample
from holisafe.taxonomy import HEAD_ORDER, Combination, parse_label

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Takes how many records have been read, and how many there are."""


def calibrate(
    model: Any,
    processor: Any,
    samples: Sequence[Sample],
    *,
    flag_rate: float = 0.05,
    threshold: float | None = None,
    joint_threshold: float | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> tuple[Calibration, CalibrationReport]:
    """Fit temperatures and thresholds of a model's guard on held-out samples; see `calibrate`.

    The model's guard stays as it is: `set_calibration` gives it what is found. Samples that could not be used are
    logged as a warning, in number and by example.

    Args:
        model: A model with a guard, in evaluation mode.
        processor: Its processor.
        samples: Samples that neither the model nor the guard has learned from; with an image head, their image
            labels count.
        flag_rate: Largest share of safe images, and of safe requests, to flag, in (0, 1).
        threshold: Threshold of the image head, in [0, 1], instead of one for `flag_rate`.
        joint_threshold: The same of the joint head.
        batch_size: Most prompts read at once.
        progress: Told how many samples have been read, and how many there are.

    Raises:
        GuardError: The model has no guard, the guard tells apart other labels, or its features are not finite.
        DataError: There are too few safe samples to promise the flag rate, or none of use.
    """
    check_choices(flag_rate, threshold, joint_threshold)
    logits = ask_guard(model, processor, samples, batch_size=batch_size, progress=progress)
    if logits.left_out:
        first = logits.left_out[0]
        _log.warning(
            "%d of %d samples left out or used in part; the first: %s: %s",
            *(len(logits.left_out), len(samples), first.id, first.why),
        )
    return logits.calibrate(flag_rate, threshold, joint_threshold)


def check_choices(flag_rate: float, threshold: float | None, joint_threshold: float | None) -> None:
    """Refuse what is no share before any time is spent.

    Raises:
        GuardError: Names the field.
    """
    Calibration(
        flag_rate=flag_rate,
        threshold=0.5 if threshold is None else threshold,
        joint_threshold=0.5 if joint_threshold is None else joint_threshold,
    )


@dataclass(frozen=True, slots=True)
class UnusableSample:
    """A sample that a head could not be calibrated on.

    Attributes:
        id: The sample's id.
        reason: "image" (it has none, or one that cannot be opened or taken in), "model" (the model failed on it),
            "label" (its images have no labels; it still counts for the joint head) or "combination" (it has none; its
            images still count for the image head).
        why: What was found, for people.
    """

    id: str
    reason: str
    why: str


@dataclass(slots=True)
class Records:
    """What one head gave, and what is right: one logit row, label index and cluster name per record."""

    logits: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)

    def add(self, logits: list[float], label: int, cluster: str) -> None:
        """One record more."""
        self.logits.append(logits)
        self.labels.append(label)
        self.clusters.append(cluster)


@dataclass(frozen=True, slots=True)
class HeldOutLogits:
    """Logits of a guard for samples.

    Attributes:
        images: Of each different image, the first time it was shown; None without an image head.
        requests: Of each sample; None without a joint head.
        left_out: What could not be used.
        data: Fingerprint of the samples.
        before: The guard's calibration until now, whose output head stays as it is.
    """

    images: Records | None
    requests: Records | None
    left_out: tuple[UnusableSample, ...]
    data: str
    before: Calibration

    def calibrate(
        self, flag_rate: float = 0.05, threshold: float | None = None, joint_threshold: float | None = None
    ) -> tuple[Calibration, CalibrationReport]:
        """Temperatures and thresholds from it, and what they do.

        Raises:
            DataError: There are too few safe records to promise the flag rate.
            GuardError: More safe records than may be flagged have a probability of unsafe of 1.
        """
        heads = {"image": self.images, "joint": self.requests}
        given: dict[str, Any] = {}
        for head, records in heads.items():
            if records is not None:
                given[f"{head}_logits"], given[f"{head}_labels"] = records.logits, records.labels
                given[f"{head}_clusters"] = records.clusters
        found, report = fit_calibration(
            **given, flag_rate=flag_rate, threshold=threshold, joint_threshold=joint_threshold, data=self.data
        )
        found = found.with_output_of(self.before)
        return found, replace(report, calibration=found)


def ask_guard(
    model: Any, processor: Any, samples: Sequence[Sample], *, batch_size: int = 16, progress: Progress | None = None
) -> HeldOutLogits:
    """Let a model read each sample as it is read when it answers, and keep the logits of its guard.

    An image that several samples show counts once, by the first of them that could be read, and belongs to its
    cluster. Without a joint head, samples that show nothing new are not read.

    Raises:
        GuardError: The model has no guard, the guard tells apart other labels, or its features are not finite.
        DataError: A head has no record.
    """
    config = guard_of(model).config
    if config.image_head and {parse_label(label) for label in config.labels} != set(HEAD_ORDER):
        raise GuardError(
            f"the guard tells {len(config.labels)} labels apart, and calibration knows the {len(HEAD_ORDER)} of the "
            "published head; call holisafe.calibration.calibrate with logits of your own"
        )
    images = Records() if config.image_head else None
    requests = Records() if config.joint_head else None
    samples = [_identified(sample) for sample in samples]
    left_out = [each for sample in samples for each in _unfit(sample, config.image_head, config.joint_head)]
    wanted = [sample for sample in samples if _is_of_use(sample, config.image_head, config.joint_head)]
    if requests is None:
        wanted = _showing_something_new(wanted)
    seen: set[str] = set()
    calibration = calibration_of(model)
    with Engine(model, processor, batch_size=batch_size) as engine:
        for done, (sample, found) in enumerate(_read(engine, wanted), 1):
            if progress is not None:
                progress(done, len(wanted))
            if isinstance(found, UnusableSample):
                left_out.append(found)
                continue
            if images is not None and _has_labels(sample):
                _add_images(images, seen, sample, found, calibration.temperature)
            if requests is not None and sample.combination is not None:
                _add_request(requests, sample, found, calibration.joint_temperature)
    for head, records in (("image", images), ("joint", requests)):
        if records is not None and not records.labels:
            first = f"; the first: {left_out[0].id}: {left_out[0].why}" if left_out else ""
            raise DataError(f"{len(samples)} samples hold no record for the guard's {head} head{first}")
    return HeldOutLogits(images, requests, tuple(left_out), fingerprint(samples), calibration)


def _identified(sample: Sample) -> Sample:
    """The sample with the digest of each image; one whose images cannot be read as it is, which reading it reports."""
    try:
        return sample.with_images(tuple(identify(image) for image in sample.images))
    except ImageError:
        return sample


def _unfit(sample: Sample, image_head: bool, joint_head: bool) -> Iterator[UnusableSample]:
    """Why a sample is of no use to a head; nothing where it is of use to both."""
    if not sample.images:
        yield UnusableSample(sample.id, "image", "it shows no image, and the guard judges images")
        return
    if image_head and not _has_labels(sample):
        found = f"{len(sample.image_labels)} image labels for {len(sample.images)} images"
        yield UnusableSample(sample.id, "label", f"found {found}, expected one each")
    if joint_head and sample.combination is None:
        yield UnusableSample(sample.id, "combination", "it has no combination; expected SSS, SSU, USU, UUU or SUU")


def _is_of_use(sample: Sample, image_head: bool, joint_head: bool) -> bool:
    fits_image_head = image_head and _has_labels(sample)
    return bool(sample.images) and (fits_image_head or (joint_head and sample.combination is not None))


def _has_labels(sample: Sample) -> bool:
    return len(sample.image_labels) == len(sample.images)


def _showing_something_new(samples: Sequence[Sample]) -> list[Sample]:
    """Samples until each image has been shown; one is sure to be read only where it is shown alone."""
    shown: set[str] = set()
    kept = []
    for sample in samples:
        if any(image.identity not in shown for image in sample.images):
            kept.append(sample)
        if len(sample.images) == 1:
            shown.add(sample.images[0].identity)
    return kept


def _read(engine: Engine, samples: Sequence[Sample]) -> Iterator[tuple[Sample, GuardVerdict | UnusableSample]]:
    """What the guard says of each sample, or why it says nothing; in their order."""
    waiting: deque[tuple[Sample, Future[Answer]]] = deque()
    only_prefill = GenerationOptions(max_new_tokens=1)
    for sample in samples:
        if len(waiting) == engine.pool:
            yield _result(*waiting.popleft())
        waiting.append((sample, engine.submit(Request(Prompt.of(sample), only_prefill))))
    while waiting:
        yield _result(*waiting.popleft())


def _result(sample: Sample, answer: Future[Answer]) -> tuple[Sample, GuardVerdict | UnusableSample]:
    try:
        verdicts = answer.result().verdict
    except ImageError as error:
        return sample, UnusableSample(sample.id, "image", str(error))
    except ModelError as error:
        return sample, UnusableSample(sample.id, "model", str(error))
    except ValueError as error:  # how processors refuse a picture's shape
        return sample, UnusableSample(sample.id, "image", f"the processor does not take it: {error}")
    assert verdicts is not None, sample.id  # the model has a guard, and the prompt an image
    return sample, verdicts


def _add_images(images: Records, seen: set[str], sample: Sample, verdicts: GuardVerdict, temperature: float) -> None:
    for image, label, verdict in zip(sample.images, sample.image_labels, verdicts.images, strict=True):
        if image.identity not in seen:
            seen.add(image.identity)
            logits = _logits([verdict.distribution[each] for each in HEAD_ORDER], temperature)
            images.add(logits, label.index, sample.cluster or image.identity)


def _add_request(requests: Records, sample: Sample, verdicts: GuardVerdict, temperature: float) -> None:
    assert verdicts.request is not None, sample.id  # the guard has a joint head
    logits = _logits([verdicts.request.distribution[each] for each in _COMBINATIONS], temperature)
    requests.add(logits, _COMBINATIONS.index(sample.required_combination), sample.cluster or sample.images[0].identity)


def _logits(probabilities: Sequence[float], temperature: float) -> list[float]:
    """Logits from what a verdict makes of them, up to a constant, which no softmax sees.

    Probabilities are of double precision, so nothing is lost but logits that lie 700 temperatures below the highest.
    """
    return [temperature * math.log(max(each, sys.float_info.min)) for each in probabilities]


_COMBINATIONS = tuple(Combination)
