"""Calibrating a model's guard: one prefill of each held-out record, and what the guard says in it."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holisafe.calibration import CalibrationReport, calibrate
from holisafe.checkpoints.tuned import IMAGES_FILE, TUNED_FILE, image_digests
from holisafe.datasets import fingerprint
from holisafe.errors import DataError, GuardError, ImageError, ModelError
from holisafe.guard import Calibration, calibration_of, guard_of
from holisafe.models import Answer, Engine, GenerationOptions, Request
from holisafe.models.loading import looks_local, tuned_model
from holisafe.models.prompts import Prompt
from holisafe.models.registry import registered_models
from holisafe.records import GuardVerdict, Sample
from holisafe.taxonomy import HEAD_ORDER, Combination, parse_label

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Takes how many records have been read, and how many there are."""


def calibrate_on(
    model: Any,
    processor: Any,
    samples: Sequence[Sample],
    *,
    flag_rate: float = 0.05,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> tuple[Calibration, CalibrationReport]:
    """Fit temperatures and thresholds of a model's guard on held-out samples; `holisafe.guard.calibrate` says how.

    The model's guard stays as it is: `set_calibration` gives it what is found. Samples that could not be used are
    logged as a warning, in number and by example.

    Args:
        model: A model with a guard, in evaluation mode.
        processor: Its processor.
        samples: Samples that neither the model nor the guard has learned from; with an image head, their image
            labels count.
        flag_rate: Largest share of safe images, and of safe requests, to flag, in (0, 1).
        batch_size: Most prompts read at once.
        progress: Told how many samples have been read, and how many there are.

    Raises:
        GuardError: The model has no guard, the guard tells apart other labels, or its features are not finite.
        DataError: There are too few safe samples to promise the flag rate, or none of use.
    """
    Calibration(flag_rate=flag_rate)  # refuses what is no share before any time is spent
    said = ask_guard(model, processor, samples, batch_size=batch_size, progress=progress)
    if said.left_out:
        first = said.left_out[0]
        _log.warning(
            "%d of %d samples left out or used in part; the first: %s: %s",
            *(len(said.left_out), len(samples), first.id, first.why),
        )
    return said.calibrate(flag_rate)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sample that a head could not be calibrated on.

    Attributes:
        id: The sample's id.
        reason: "image" (it has none, or one that cannot be opened or taken in), "model" (the model failed on it) or
            "label" (its images have no labels; what it is together still counts for the joint head).
        why: What was found, for people.
    """

    id: str
    reason: str
    why: str


@dataclass(slots=True)
class Records:
    """What one head said, and what would have been right: one logit row, label index and cluster name per record."""

    logits: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)

    def add(self, logits: list[float], label: int, cluster: str) -> None:
        """One record more."""
        self.logits.append(logits)
        self.labels.append(label)
        self.clusters.append(cluster)


@dataclass(frozen=True, slots=True)
class GuardSaid:
    """What a guard said of samples.

    Attributes:
        images: Of each different image, the first time it was shown; None without an image head.
        requests: Of each sample; None without a joint head.
        left_out: What could not be used.
        data: Fingerprint of the samples.
    """

    images: Records | None
    requests: Records | None
    left_out: tuple[LeftOut, ...]
    data: str

    def calibrate(self, flag_rate: float) -> tuple[Calibration, CalibrationReport]:
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
        return calibrate(**given, flag_rate=flag_rate, data=self.data)


def ask_guard(
    model: Any, processor: Any, samples: Sequence[Sample], *, batch_size: int = 16, progress: Progress | None = None
) -> GuardSaid:
    """Let a model read each sample as it is read when it answers, and keep what its guard says.

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
            "published head; call holisafe.guard.calibrate with logits of your own"
        )
    images = Records() if config.image_head else None
    requests = Records() if config.joint_head else None
    left_out = [each for each in map(_unfit, samples) if each and (config.image_head or each.reason != "label")]
    useless = {each.id for each in left_out if each.reason != "label" or not config.joint_head}
    wanted = [sample for sample in samples if sample.id not in useless]
    if requests is None:
        wanted = _showing_something_new(wanted)
    seen: set[str] = set()
    calibration = calibration_of(model)
    with Engine(model, processor, batch_size=batch_size) as engine:
        for done, (sample, found) in enumerate(_read(engine, wanted), 1):
            if progress is not None:
                progress(done, len(wanted))
            if isinstance(found, LeftOut):
                left_out.append(found)
                continue
            if images is not None and _has_labels(sample):
                _add_images(images, seen, sample, found, calibration.temperature)
            if requests is not None:
                _add_request(requests, sample, found, calibration.joint_temperature)
    for head, records in (("image", images), ("joint", requests)):
        if records is not None and not records.labels:
            first = f"; the first: {left_out[0].id}: {left_out[0].why}" if left_out else ""
            raise DataError(f"{len(samples)} samples hold no record for the guard's {head} head{first}")
    return GuardSaid(images, requests, tuple(left_out), fingerprint(samples))


def check_held_out(model: str, data: str, split: str, samples: Sequence[Sample]) -> None:
    """Refuse samples that a tuned model has learned from, or what it was tuned from, as far as their folders tell.

    Args:
        model: What `load` was asked for.
        data: Name of the data set, or its path or Hub id.
        split: Its split.
        samples: The samples.

    Raises:
        GuardError: They are what it was tuned on.
        ModelError: `tuned.json` cannot be read.
    """
    shown: dict[str, str] | None = None
    for folder in _came_from(model):
        name, of_split = _data_of(folder)
        if name is not None and _place(name) == _place(data) and of_split in (None, split):
            raise GuardError(_learned_from(folder, f"the split {of_split or split} of {name}"))
        if (folder / IMAGES_FILE).is_file():
            shown = image_digests(samples) if shown is None else shown
            if both := shown.keys() & set((folder / IMAGES_FILE).read_text("ascii").split()):
                which = f"{len(both)} of the {len(shown)} images of {data}, such as {shown[min(both)]}"
                raise GuardError(_learned_from(folder, which))


def _came_from(model: str) -> Iterator[Path]:
    """The folder of a model, and those of what it was tuned from, one from the other."""
    seen: set[Path] = set()
    while looks_local(model) and model not in registered_models():
        tuned = tuned_model(model)
        folder = Path(model).expanduser() if tuned is None else tuned.folder
        if folder in seen:
            return
        seen.add(folder)
        yield folder
        if tuned is None:
            return
        model = tuned.base


def _data_of(folder: Path) -> tuple[str | None, str | None]:
    """Name and split of the data that a tuned model learned from; None where they have none."""
    if not (folder / TUNED_FILE).is_file():
        return None, None
    learned = json.loads((folder / TUNED_FILE).read_text("utf-8")).get("data") or {}
    name = learned.get("name") or None  # samples given from Python have none
    return name if isinstance(name, str) else None, learned.get("split")


def _learned_from(folder: Path, what: str) -> str:
    return (
        f"{folder} was tuned on {what}, so its scores there promise nothing of other images; calibrate on samples that "
        "it has not learned from"
    )


def _unfit(sample: Sample) -> LeftOut | None:
    """Why a sample is of no use to one head or both; None where it is of use."""
    if not sample.images:
        return LeftOut(sample.id, "image", "it shows no image, and the guard judges images")
    if not _has_labels(sample):
        found = f"{len(sample.image_labels)} image labels for {len(sample.images)} images"
        return LeftOut(sample.id, "label", f"found {found}, expected one each")
    return None


def _has_labels(sample: Sample) -> bool:
    return len(sample.image_labels) == len(sample.images)


def _showing_something_new(samples: Sequence[Sample]) -> list[Sample]:
    """Samples until each image has been shown; one is sure to be read only where it is shown alone."""
    shown: set[str] = set()
    kept = []
    for sample in samples:
        if any(image.key not in shown for image in sample.images):
            kept.append(sample)
        if len(sample.images) == 1:
            shown.add(sample.images[0].key)
    return kept


def _read(engine: Engine, samples: Sequence[Sample]) -> Iterator[tuple[Sample, GuardVerdict | LeftOut]]:
    """What the guard says of each sample, or why it says nothing; in their order."""
    waiting: deque[tuple[Sample, Future[Answer]]] = deque()
    only_prefill = GenerationOptions(max_new_tokens=1)
    for sample in samples:
        if len(waiting) == engine.pool:
            yield _result(*waiting.popleft())
        waiting.append((sample, engine.submit(Request(Prompt.of(sample), only_prefill))))
    while waiting:
        yield _result(*waiting.popleft())


def _result(sample: Sample, answer: Future[Answer]) -> tuple[Sample, GuardVerdict | LeftOut]:
    try:
        verdicts = answer.result().verdict
    except ImageError as error:
        return sample, LeftOut(sample.id, "image", str(error))
    except ModelError as error:
        return sample, LeftOut(sample.id, "model", str(error))
    except ValueError as error:  # how processors refuse a picture's shape
        return sample, LeftOut(sample.id, "image", f"the processor does not take it: {error}")
    assert verdicts is not None, sample.id  # the model has a guard, and the prompt an image
    return sample, verdicts


def _add_images(images: Records, seen: set[str], sample: Sample, verdicts: GuardVerdict, temperature: float) -> None:
    for image, label, verdict in zip(sample.images, sample.image_labels, verdicts.images, strict=True):
        if image.key not in seen:
            seen.add(image.key)
            logits = _logits([verdict.distribution[each] for each in HEAD_ORDER], temperature)
            images.add(logits, label.index, sample.cluster or image.key)


def _add_request(requests: Records, sample: Sample, verdicts: GuardVerdict, temperature: float) -> None:
    assert verdicts.request is not None, sample.id  # the guard has a joint head
    logits = _logits([verdicts.request.distribution[each] for each in _COMBINATIONS], temperature)
    requests.add(logits, _COMBINATIONS.index(sample.required_combination), sample.cluster or sample.images[0].key)


def _logits(probabilities: Sequence[float], temperature: float) -> list[float]:
    """Logits from what a verdict makes of them, up to a constant, which no softmax sees.

    Probabilities are of double precision, so nothing is lost but logits that lie 700 temperatures below the highest.
    """
    return [temperature * math.log(max(each, sys.float_info.min)) for each in probabilities]


def _place(name: str) -> str | Path:
    """A path by what it leads to, another name as it is."""
    return Path(name).expanduser().resolve() if looks_local(name) or Path(name).exists() else name


_COMBINATIONS = tuple(Combination)
