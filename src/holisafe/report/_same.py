"""When two runs were asked the same sample."""

from __future__ import annotations

from holisafe.images import content_hash
from holisafe.records import ImageRef, Sample


def same_sample(sample: Sample) -> tuple[object, ...]:
    """What two runs must share for a sample to be the same: id, what is said, what is expected, and image contents.

    Ids alone may come from different data sets, and names of images identify nothing.
    """
    turns = tuple((turn.role, turn.text, tuple(_content(image) for image in turn.images)) for turn in sample.turns)
    return sample.id, turns, sample.expected, sample.combination


def _content(image: ImageRef) -> str:
    """The image's digest; where it was not identified, what is known of it."""
    if not image.digest and image.data is not None:
        return content_hash(image.data)
    return image.identity
