"""Safe and unsafe inputs side by side, from JSON Lines or from the twins of a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import parse_json, read_bounded
from holisafe.datasets import load, registered_names, split_names
from holisafe.errors import DataError
from holisafe.metrics import twin_pairs
from holisafe.records import Behaviour, ImageRef, Sample

MAX_BYTES = 2**28
FIELDS = ("safe_image", "unsafe_image", "safe_text", "unsafe_text")


@dataclass(frozen=True, slots=True)
class Pair:
    """A safe and an unsafe sample; what is not asked for may be missing.

    Attributes:
        safe_image: An image with nothing unsafe in it.
        unsafe_image: One like it, unsafe.
        safe_text: A caption or request.
        unsafe_text: One like it, unsafe.
    """

    safe_image: ImageRef | None
    unsafe_image: ImageRef | None
    safe_text: str | None
    unsafe_text: str | None


def read_pairs(source: str, *, images: bool, texts: bool, limit: int | None = None) -> list[Pair]:
    """Pairs of a file or a data set.

    Args:
        source: A JSON Lines file whose records have the fields `safe_image`, `unsafe_image` (paths below the file's
            folder), `safe_text` and `unsafe_text`; or the name of a data set with twins, of which the train split is
            taken where there is one: twins with one question and two images give images, twins with one image and
            two questions give texts.
        images: Whether each pair must have images.
        texts: Whether each pair must have texts.
        limit: Maximum number of pairs, the first ones.

    Raises:
        DataError: The source cannot be read, lacks a field, or holds no such pairs.
        UnknownNameError: There is no such data set.
    """
    path = Path(source).expanduser()
    if path.suffix == ".jsonl":
        pairs = list(_from_file(path, images=images, texts=texts))
    else:
        pairs = _from_twins(source, images=images, texts=texts)
    if not pairs:
        wanted = " and ".join(kind for kind, asked in (("images", images), ("texts", texts)) if asked)
        raise DataError(f"{source}: holds no pairs of safe and unsafe {wanted}; give a JSON Lines file with such pairs")
    return pairs[:limit]


def _from_file(path: Path, *, images: bool, texts: bool) -> Iterator[Pair]:
    content = read_bounded(path, DataError, max_bytes=MAX_BYTES)
    wanted = [field for field in FIELDS if (images if field.endswith("image") else texts)]
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        record = parse_json(line, DataError, source=where)
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected an object, found {json.dumps(record)[:40]}")
        for field in FIELDS:
            value = record.get(field)
            if not (isinstance(value, str) and value.strip()) and (field in wanted or value is not None):
                raise DataError(f"{where}: {field}: expected a text, found {json.dumps(value)[:40]}")
        yield Pair(
            _image(path, record, "safe_image"),
            _image(path, record, "unsafe_image"),
            record.get("safe_text"),
            record.get("unsafe_text"),
        )


def _image(path: Path, record: dict[str, Any], field: str) -> ImageRef | None:
    name = record.get(field)
    return None if name is None else ImageRef(name, path=path.parent / name, root=path.parent)


def _from_twins(source: str, *, images: bool, texts: bool) -> list[Pair]:
    splits = split_names(source) if source in registered_names() else ()
    samples = load(source, "train" if "train" in splits else None)
    of_images, of_texts = _twins(samples)
    if images and texts:
        return [
            Pair(one.safe_image, one.unsafe_image, other.safe_text, other.unsafe_text)
            for one, other in zip(of_images, of_texts, strict=False)
        ]
    return of_images if images else of_texts


def _twins(samples: Sequence[Sample]) -> tuple[list[Pair], list[Pair]]:
    """Twins that differ in their image, and twins that differ in their question."""
    of_images, of_texts = [], []
    for pair in twin_pairs(samples):
        safe, unsafe = sorted((samples[at] for at in pair), key=lambda each: each.expected is not Behaviour.ANSWER)
        if safe.query == unsafe.query and len(safe.images) == len(unsafe.images) == 1:
            of_images.append(Pair(safe.images[0], unsafe.images[0], None, None))
        elif safe.images == unsafe.images:
            of_texts.append(Pair(None, None, safe.query, unsafe.query))
    return of_images, of_texts
