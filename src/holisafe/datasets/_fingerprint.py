"""One hash for what was asked, so that two runs can be told to be on the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from holisafe.errors import ImageError
from holisafe.images import content_hash, read_bytes
from holisafe.records import ImageRef, Sample


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over every field of every record and the bytes of every image, in hex.

    The order of the samples and the place of the files do not matter. An image that cannot be read counts as
    "unreadable", so that the hash changes once it can.
    """
    images: dict[ImageRef, str] = {}
    lines = sorted(json.dumps(_fields(sample, images), ensure_ascii=True) for sample in samples)
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()


def _fields(sample: Sample, images: dict[ImageRef, str]) -> list[object]:
    for ref in sample.images:
        if ref not in images:
            images[ref] = _image_hash(ref)
    return [
        sample.id,
        [[ref.key, images[ref]] for ref in sample.images],
        sample.query,
        sample.combination,
        sample.category,
        sample.subcategory,
        sample.image_labels,
        sample.reference,
        sample.twin,
        sample.cluster,
        sample.source,
        sample.licence,
    ]


def _image_hash(ref: ImageRef) -> str:
    try:
        return content_hash(read_bytes(ref))
    except ImageError:
        return "unreadable"
