"""What a run learns from: read, held against what a model is measured on, and without what does not fit."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from holisafe import datasets
from holisafe.datasets import split_names
from holisafe.errors import DataError, ImageError, TuningError
from holisafe.guard import GuardConfig
from holisafe.images import content_hash, open_image, read_bytes
from holisafe.records import ImageRef, Sample
from holisafe.tuning._config import TuneConfig
from holisafe.tuning._progress import OnStage, untold
from holisafe.tuning._targets import check_samples

TRAIN = "train"
"""The split that is learned from where the data have splits."""

HELD_OUT = ("calibration", "test", "transfer", "val", "valid", "validation", "dev", "eval")
"""Names of splits that are learned from only where they are named."""


@dataclass(frozen=True, slots=True)
class SkippedSample:
    """A sample that is not learned from.

    Attributes:
        id: The sample's id.
        reason: "image" (it cannot be opened or taken in) or "length" (it is too long for the model or the settings).
        why: What was found, for people.
    """

    id: str
    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Samples to learn from, and where they come from.

    Attributes:
        samples: Safety data.
        general: General instruction data, which need no refusal.
        name: What was asked for; empty for samples that were given as they are.
        split: The split of it; None where it has none.
        broken: Records that could not be read.
    """

    samples: tuple[Sample, ...]
    general: tuple[Sample, ...] = ()
    name: str = ""
    split: str | None = None
    broken: int = 0

    def without(self, skipped: Iterable[SkippedSample]) -> TrainingData:
        """The data without some samples."""
        ids = {each.id for each in skipped}
        return replace(
            self,
            samples=tuple(sample for sample in self.samples if sample.id not in ids),
            general=tuple(sample for sample in self.general if sample.id not in ids),
        )


def read_training(
    data: str | Path | Sequence[Sample],
    split: str | None,
    general: str | Path | Sequence[Sample] | None,
    guard: GuardConfig | None,
    config: TuneConfig,
) -> TrainingData:
    """Read what to learn from.

    Args:
        data: A registered name, a path, a Hub id, or samples.
        split: Its split; when None "train", or all of the data where no split is held out.
        general: General instruction data; their split "train", or all of them where no split is held out.
        guard: The guard that learns too; None where there is none.
        config: The settings; the method makes of the samples what it learns from.

    Raises:
        DataError: The data cannot be read.
        UnknownNameError: There is no such data set or split.
        TuningError: A split has to be named, a sample cannot be learned from, or its image is in a split that models
            are measured or calibrated on.
    """
    safety, split, broken = _read(data, split)
    more, _, more_broken = ((), None, 0) if general is None else _read(general, None)
    if not safety:
        raise TuningError(f"{data if isinstance(data, str | Path) else 'the data'}: no samples to learn from")
    method = config.method_part
    safety = tuple(method.prepare(safety, config.method_config))
    more = tuple(method.prepare_general(more, config.method_config))
    check_samples(safety, guard)
    check_samples(more, None)
    name = "" if isinstance(data, Sequence) and not isinstance(data, str) else str(data)
    if name:
        _check_apart(name, split, (*safety, *more))
    return TrainingData(safety, more, name, split, broken + more_broken)


def find_unfit(
    samples: Sequence[Sample], collate: Any, limit: int | None, extra: int = 0, on_stage: OnStage = untold
) -> list[SkippedSample]:
    """Samples with an image that cannot be opened or taken in, or that are too long.

    Every image is decoded once. Lengths are exact, but only samples that could be too long are measured: visual tokens
    are counted once for each size of image, and a text has at most as many tokens as bytes.

    Args:
        samples: What to look at.
        collate: The run's `Collator`, without a limit of its own.
        limit: Most tokens; None for any.
        extra: Tokens that the guard adds for each image.
        on_stage: Called before each sample.
    """
    sizes: dict[ImageRef, tuple[int, int]] = {}
    room: dict[tuple[tuple[int, int], ...], int] = {}
    found = []
    for done, sample in enumerate(samples):
        on_stage("checking samples", done, len(samples))
        try:
            for image in sample.images:
                if image not in sizes:
                    sizes[image] = open_image(image).size
            shape = tuple(sizes[image] for image in sample.images)
            if shape not in room:
                room[shape] = _tokens(collate, _blank(sample, shape))
            answer = max(len((text or "").encode()) for text in (sample.reference, sample.rejected))
            tokens = room[shape] + answer + len("".join(turn.text for turn in sample.turns).encode())
            if limit is not None and tokens + extra * len(shape) > limit:
                tokens = _tokens(collate, sample)
        except ImageError as error:
            found.append(SkippedSample(sample.id, "image", str(error)))
            continue
        except ValueError as error:  # how processors refuse a picture's shape
            found.append(SkippedSample(sample.id, "image", f"the processor does not take it: {error}"))
            continue
        tokens += extra * len(shape)
        if limit is not None and tokens > limit:
            found.append(SkippedSample(sample.id, "length", f"{tokens} tokens with its images, at most {limit}"))
    return found


def _tokens(collate: Any, sample: Sample) -> int:
    return int(collate([sample])["input_ids"].shape[1])


def _blank(sample: Sample, shape: Sequence[tuple[int, int]]) -> Sample:
    """A sample with empty images of these sizes and next to no text."""
    images = []
    for size in shape:
        file = io.BytesIO()
        Image.new("RGB", size).save(file, "PNG")
        images.append(ImageRef("blank", data=file.getvalue()))
    rejected = None if sample.rejected is None else "y"
    return replace(sample.with_images(tuple(images)).with_query("x"), reference="x", rejected=rejected)


def _read(data: str | Path | Sequence[Sample], split: str | None) -> tuple[tuple[Sample, ...], str | None, int]:
    """Samples, their split, and how many records are broken."""
    if not isinstance(data, str | Path):
        return tuple(data), split, 0
    if split is None:
        split = _split_to_learn(data)
    loaded = datasets.read(data, split)
    if loaded.broken and not loaded.samples:
        raise DataError(f"{data}: every record is broken; the first: {loaded.broken[0]}")
    return loaded.samples, split, loaded.broken_records


def _split_to_learn(data: str | Path) -> str | None:
    """The split "train" where there is one, else the only one; None for all that there is.

    Raises:
        TuningError: That would be what models are measured or calibrated on.
    """
    splits = split_names(data)
    if TRAIN in splits:
        return TRAIN
    if held_out := [name for name in splits if name in HELD_OUT]:
        raise TuningError(
            f"{data} has no split {TRAIN!r}, and {held_out[0]!r} is for measuring or calibrating; say with split which "
            "to learn from, or give data with a split of that name"
        )
    return splits[0] if len(splits) == 1 else None


def _check_apart(name: str, split: str | None, samples: Sequence[Sample]) -> None:
    """Refuse an image of another split of the data.

    Raises:
        TuningError: Names the sample, the image and the split.
    """
    others = [other for other in split_names(name) if other not in (split, TRAIN)] if split else []
    held = {content: other for other in others for content in _contents(_of_split(name, other))}
    shared = [(sample, held[content]) for sample in samples for content in _contents([sample]) if content in held]
    if shared:
        sample, other = shared[0]
        raise TuningError(
            f"sample {sample.id}: its image {sample.images[0].key} is in the split {other} of {name} too, and so are "
            f"those of {len(shared) - 1} more samples; a model may not learn from what it is measured or calibrated "
            "on: take them out"
        )


def _of_split(name: str, split: str) -> tuple[Sample, ...]:
    """The samples of another split; none where a release lies here without it."""
    try:
        return datasets.read(name, split).samples
    except DataError:
        if datasets.split_spec(name) is None:
            raise
        return ()


def _contents(samples: Iterable[Sample]) -> Iterator[str]:
    """SHA-256 of each image's bytes; images that cannot be read have none."""
    for image in {image: None for sample in samples for image in sample.images}:
        try:
            yield content_hash(read_bytes(image))
        except ImageError:
            continue
