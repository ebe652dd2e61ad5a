"""A few held-out samples on which a model is tried again and again while it trains."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from holisafe.errors import TuningError
from holisafe.records import ImageRef, Sample
from holisafe.tuning._mix import check_ids, grouped


def calibration_slice(samples: Sequence[Sample], count: int = 60, *, seed: int = 0) -> list[Sample]:
    """Draw `count` samples, the combinations in equal parts and within each its categories by turns.

    A combination with fewer samples gives all of them, and the others do not make up for it, so that a slice can be
    smaller than asked for. Depends on the seed and the ids, not on the order of `samples`.

    Args:
        samples: What to draw from, for example the "calibration" split of a data set.
        count: How many to draw; the combinations that come first get one more where it does not divide.
        seed: Seed of the draw.

    Raises:
        TuningError: There are no samples, ids are not unique, or `count` would leave a combination empty.
    """
    check_ids(samples)
    groups = grouped(samples)
    if not groups:
        raise TuningError("there are no samples to draw a calibration slice from")
    if count < len(groups):
        raise TuningError(
            f"count: expected at least {len(groups)}, so that no combination of the slice is empty, found {count}"
        )
    rng = random.Random(seed)
    chosen: list[Sample] = []
    for place, combination in enumerate(sorted(groups)):
        quota = count // len(groups) + (place < count % len(groups))
        categories = [rng.sample(found, len(found)) for _, found in sorted(groups[combination].items())]
        by_turns = (each for each in chain.from_iterable(zip_longest(*categories)) if each is not None)
        chosen += [each for each, _ in zip(by_turns, range(quota), strict=False)]
    return chosen


def check_held_out(slice_: Iterable[Sample], learned: Iterable[Sample]) -> None:
    """Refuse a slice that shares a sample or an image with what is learned from.

    Raises:
        TuningError: It does; the message names the sample.
    """
    ids: set[str] = set()
    images: set[ImageRef] = set()
    for sample in learned:
        ids.add(sample.id)
        images.update(sample.images)
    for sample in slice_:
        shared = "its id" if sample.id in ids else "an image" if images.intersection(sample.images) else ""
        if shared:
            raise TuningError(
                f"sample {sample.id} of the calibration slice shares {shared} with the samples that are learned from; "
                "take samples of another split"
            )


def digest(samples: Iterable[Sample]) -> str:
    """What tells one slice from another."""
    return hashlib.sha256("\n".join(sample.id for sample in samples).encode()).hexdigest()
