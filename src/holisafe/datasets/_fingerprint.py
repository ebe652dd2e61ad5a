"""One hash for what was asked, so that two runs can be told to be on the same data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from holisafe._checks import check_each
from holisafe.errors import ImageError
from holisafe.images import content_hash, read_bytes
from holisafe.records import CATEGORY_TAG, SUBCATEGORY_TAG, Behaviour, ImageRef, Sample


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over every field of every record and the bytes of every image, in hex.

    The order of the samples and the names and places of the files do not matter. An image that cannot be read counts
    as "unreadable", so that the hash changes once it can.
    """
    check_each(samples, Sample, "samples")
    images: dict[ImageRef, str] = {}
    lines = sorted(json.dumps(_fields(sample, images), ensure_ascii=True) for sample in samples)
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()


def _fields(sample: Sample, images: dict[ImageRef, str]) -> list[object]:
    for ref in sample.images:
        if ref not in images:
            images[ref] = ref.digest or _image_hash(ref)
    common: list[object] = [
        sample.id,
        # the cluster beside each image keeps the hash that the shipped guards name for HoliSafe-Open
        [[sample.cluster, images[ref]] for ref in sample.images],
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
    further = _further(sample, images)
    return [*common, further] if further else common


def _further(sample: Sample, images: dict[ImageRef, str]) -> dict[str, object]:
    """What goes beyond one question of a combination."""
    right = sample.combination and (Behaviour.ANSWER if sample.combination.is_safe else Behaviour.REFUSE)
    tags = {name: value for name, value in sample.tags.items() if name not in (CATEGORY_TAG, SUBCATEGORY_TAG)}
    fields: dict[str, object] = {
        "expected": None if sample.expected is right else sample.expected or "not given",
        "options": sample.options,
        "rejected": sample.rejected,
        "tags": tags,
        "turns": [[turn.role, turn.text, [images[ref] for ref in turn.images]] for turn in sample.turns]
        if len(sample.turns) > 1
        else [],
    }
    return {name: value for name, value in fields.items() if value}


def _image_hash(ref: ImageRef) -> str:
    try:
        return content_hash(read_bytes(ref))
    except ImageError:
        return "unreadable"
