"""Write samples so that any other tool reads them: the released JSON with its images, or Parquet."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from holisafe.datasets.holisafe_bench import FILE_NAME
from holisafe.errors import DataError
from holisafe.images import content_hash, read_bytes
from holisafe.records import CATEGORY_TAG, SUBCATEGORY_TAG, ImageRef, Sample, Turn
from holisafe.taxonomy import GuardLabel

FORMATS = ("holisafe", "parquet")
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp"}
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", _IMAGE),
        ("images", pa.list_(_IMAGE)),
        ("query", pa.string()),
        ("type", pa.string()),
        ("category", pa.string()),
        ("subcategory", pa.string()),
        ("image_safe", pa.bool_()),
        ("image_safety_label", pa.int64()),
        ("image_safety_labels", pa.list_(pa.int64())),
        ("reference", pa.string()),
        ("rejected", pa.string()),
        ("expected", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("options", pa.list_(pa.string())),
        ("tags", pa.list_(pa.struct([("name", pa.string()), ("value", pa.string())]))),
        ("twin", pa.string()),
        ("cluster", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
    ],
    # what the `datasets` library reads, to show the column as pictures
    metadata={"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})},
)
_ROWS_AT_ONCE = 256


def export_holisafe(samples: Sequence[Sample], out: str | Path) -> Path:
    """Write `holisafe_bench.json` and `images/` below a folder, in the released format.

    Fields the released format does not have (reference, twin, ...) are added where a sample has them. Ids are
    written as integers where they are whole numbers.

    Returns:
        The JSON file.

    Raises:
        DataError: There are no samples, or the folder holds an export already.
        ImageError: An image cannot be read.
    """
    out = Path(out)
    target = _new_file(samples, out / FILE_NAME)
    paths: dict[ImageRef, str] = {}
    places: dict[str, str] = {}  # by digest: one content is written once
    taken: set[str] = set()
    for sample in samples:
        for ref, label in zip_longest(sample.images, sample.image_labels):
            if ref not in paths:
                data = read_bytes(ref)
                digest = ref.digest or content_hash(data)
                if digest not in places:
                    places[digest] = _free(_place(ref, data, label), digest, taken)
                    image = out / "images" / places[digest]
                    image.parent.mkdir(parents=True, exist_ok=True)
                    image.write_bytes(data)
                paths[ref] = places[digest]
    records = [_record(sample, paths.__getitem__) for sample in samples]
    text = json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    _write_whole(target, lambda path: path.write_text(text, encoding="utf-8"))
    return target


def export_parquet(samples: Sequence[Sample], out: str | Path, split: str | None = None) -> Path:
    """Write one Parquet file, named after the split, with the images' bytes in each row.

    Returns:
        The file.

    Raises:
        DataError: There are no samples, or the folder holds an export already.
        ImageError: An image cannot be read.
    """
    target = _new_file(samples, Path(out) / f"{split or 'test'}.parquet")
    _write_whole(target, lambda path: _write_rows(samples, path))
    return target


def _write_rows(samples: Sequence[Sample], path: Path) -> None:
    def image(ref: ImageRef) -> dict[str, Any]:
        return {"bytes": read_bytes(ref), "path": ref.key}

    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for start in range(0, len(samples), _ROWS_AT_ONCE):
            rows = [_record(sample, image) for sample in samples[start : start + _ROWS_AT_ONCE]]
            writer.write_table(pa.Table.from_pylist([_row(record) for record in rows], schema=_SCHEMA))


def _row(record: dict[str, Any]) -> dict[str, Any]:
    """A record with one type per column: ids as text, tags as pairs."""
    tags = [{"name": name, "value": value} for name, value in record.get("tags", {}).items()]
    return record | {name: str(record[name]) for name in ("id", "twin") if name in record} | {"tags": tags or None}


def _record(sample: Sample, image: Callable[[ImageRef], Any]) -> dict[str, Any]:
    """A sample as a record of the released format; unknown category and subcategory are null."""
    images = [image(ref) for ref in sample.images]
    record: dict[str, Any] = {
        "id": _released_id(sample.id),
        "image": images[0] if images else None,
        "query": sample.query,
        "type": sample.combination and sample.combination.value,
        "category": sample.category and sample.category.value,
        "subcategory": sample.subcategory and sample.subcategory.value,
    }
    if len(sample.turns) > 1:
        record["query"] = None
        record["messages"] = [_message(turn) for turn in sample.turns]
    if sample.combination is not None:
        record["image_safe"] = sample.combination.image_is_safe
    elif sample.expected is not None:
        record["expected"] = sample.expected.value
    if sample.image_labels:
        record["image_safety_label"] = _overall(sample.image_labels).index
    if len(images) > 1:
        record["images"] = images
        if sample.image_labels:
            record["image_safety_labels"] = [label.index for label in sample.image_labels]
    tags = {name: value for name, value in sample.tags.items() if name not in (CATEGORY_TAG, SUBCATEGORY_TAG)}
    extras = {
        "reference": sample.reference,
        "rejected": sample.rejected,
        "options": list(sample.options),
        "twin": sample.twin and _released_id(sample.twin),
        "cluster": sample.cluster,
        "tags": tags,
        "source": sample.source,
        "licence": sample.licence,
    }
    return record | {name: value for name, value in extras.items() if value}


def _message(turn: Turn) -> dict[str, str]:
    """A turn as training data have it: a placeholder for each image, then the text."""
    return {"role": turn.role.value, "content": "<image>\n" * len(turn.images) + turn.text}


def _released_id(name: str) -> int | str:
    """Ids are integers in the released files; others are written as they are."""
    is_whole = name.isascii() and name.isdecimal() and len(name) <= 18 and str(int(name)) == name
    return int(name) if is_whole else name


def _overall(labels: Sequence[GuardLabel]) -> GuardLabel:
    """One label for several images: the first that is not safe."""
    return next((label for label in labels if label is not GuardLabel.SAFE), GuardLabel.SAFE)


def _place(ref: ImageRef, data: bytes, label: GuardLabel | None) -> str:
    """Where an image goes below `images/`: under its own key where that is a plain path, else under its label."""
    key = PurePosixPath(ref.key)
    is_plain = ref.path is not None and not key.is_absolute() and ".." not in key.parts
    if is_plain and key.suffix and "\\" not in ref.key:
        return str(key)
    suffix = next((suffix for start, suffix in _SUFFIXES.items() if data.startswith(start)), ".bin")
    subcategory = label and label.subcategory
    folder = f"{subcategory.category}/{subcategory}" if subcategory else label or "unlabelled"
    return f"{folder}/{label or 'image'}_{content_hash(data)[:16]}{suffix}"


def _free(place: str, digest: str, taken: set[str]) -> str:
    """A place that no other image has: equal names with different content are distinguished by their digests."""
    path = PurePosixPath(place)
    free = place if place.lower() not in taken else str(path.with_name(f"{path.stem}_{digest[:16]}{path.suffix}"))
    taken.add(free.lower())  # some file systems do not tell upper case from lower
    return free


def _new_file(samples: Sequence[Sample], target: Path) -> Path:
    if not samples:
        raise DataError(f"{target}: nothing to export: the data set has no samples; choose another split")
    if target.exists():
        raise DataError(f"{target}: exists already; choose an empty folder, or remove the file")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _write_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Write next to the target and rename: whoever looks finds either no file or a whole one."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        part = Path(folder) / target.name
        write(part)
        part.replace(target)
