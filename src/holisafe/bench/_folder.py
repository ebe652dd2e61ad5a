"""A run's folder: `run.json`, the samples, their images. Files are put in place whole; links are never followed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holisafe._files import parse_json, read_json, write_atomically
from holisafe.bench._journal import read_lines
from holisafe.bench._text import encodable, encodable_values
from holisafe.errors import DataError, ImageError, RunError
from holisafe.images import check_path, identify, read_bytes
from holisafe.records import ImageRef, Sample
from holisafe.records.as_json import image_file, sample_from_json, sample_to_json

RUN_FILE = "run.json"
SAMPLES = "samples.jsonl"
IMAGES = "images"
"""Folder below a run folder with the images that were only in memory, each once, named by its digest."""

_FIELDS: Mapping[str, type | tuple[type, ...]] = {"state": str, "settings": dict}
_FIELDS_OF_COMPLETE: Mapping[str, type | tuple[type, ...]] = {
    "name": str,
    "errors": int,
    "data": dict,
    "judges": dict,
    "summaries": dict,
    "model": dict,
}


def default_folder(model: str, data: str | Path, defences: Sequence[str] = ()) -> Path:
    """Where a run of a model on a data set goes if nothing else is said: `runs/MODEL[-DEFENCE]-DATA`."""
    parts = (model, *defences, data)
    names = (re.sub(r"[^A-Za-z0-9._]+", "_", str(name)).strip("_.") or "model" for name in parts)
    return Path("runs") / "-".join(names)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The contents of `run.json`; None where there is none.

    Raises:
        RunError: It cannot be read, or a field is not what this version writes.
    """
    path = folder / RUN_FILE
    if not path.exists() and not path.is_symlink():
        return None
    record = read_json(path, RunError, follow_links=False)
    if not isinstance(record, dict) or not _FIELDS.keys() <= record.keys():
        raise RunError(f"{path} was not written by holisafe bench; use another --out")
    fields = {**_FIELDS, **(_FIELDS_OF_COMPLETE if record["state"] == "complete" else {})}
    for name, kind in fields.items():
        found = record.get(name)
        if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
            words = kind.__name__ if isinstance(kind, type) else " or ".join(each.__name__ for each in kind)
            raise RunError(
                f"{path}: field {name!r} is {type(found).__name__}, expected {words}; restore the file, or use "
                "another --out"
            )
    if record["state"] == "complete" and type(record["data"].get("left_out_as_broken")) is not int:
        raise RunError(f"{path}: field 'data.left_out_as_broken' is no int; restore the file, or use another --out")
    if not all(isinstance(value, dict) for value in record.get("summaries", {}).values()):
        raise RunError(f"{path}: field 'summaries' holds other than objects; restore the file, or use another --out")
    return record


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Put `run.json` in place.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    _write(folder / RUN_FILE, json.dumps(encodable_values(record), indent=2, ensure_ascii=False) + "\n")


def identified(samples: Sequence[Sample]) -> list[Sample]:
    """The samples as they are recorded: every text encodable, every image with the digest of its bytes.

    An image that cannot be read has no digest: asking about it will tell why.

    Raises:
        DataError: Two samples have the same id.
    """
    known: dict[tuple[Any, ...], ImageRef] = {}

    def identify_once(ref: ImageRef) -> ImageRef:
        place = (ref.key, ref.path, ref.root, ref.url, ref.data)
        if place not in known:
            try:
                known[place] = identify(ref)
            except ImageError:
                known[place] = ref
        return replace(known[place], key=encodable(ref.key))

    found = [_encodable_sample(sample, identify_once) for sample in samples]
    seen: set[str] = set()
    for sample in found:
        if sample.id in seen:
            raise DataError(f"two samples have the id {sample.id!r}; ids must be unique within a data set")
        seen.add(sample.id)
    return found


def _encodable_sample(sample: Sample, identify_once: Any) -> Sample:
    turns = tuple(
        replace(turn, text=encodable(turn.text), images=tuple(identify_once(image) for image in turn.images))
        for turn in sample.turns
    )
    return replace(
        sample,
        id=encodable(sample.id),
        turns=turns,
        reference=None if sample.reference is None else encodable(sample.reference),
        rejected=None if sample.rejected is None else encodable(sample.rejected),
        options=tuple(map(encodable, sample.options)),
        twin=None if sample.twin is None else encodable(sample.twin),
        cluster=encodable(sample.cluster),
        tags={encodable(name): encodable(value) for name, value in sample.tags.items()},
        source=encodable(sample.source),
        licence=encodable(sample.licence),
    )


def write_samples(folder: Path, samples: Sequence[Sample]) -> None:
    """Write every sample, in order, and each image once, so that the folder can be looked at by itself.

    Image files are hard links where the file system can, else copies.

    Raises:
        RunError: The disk is full or cannot be written.
    """
    images = folder / IMAGES
    if images.is_symlink():
        raise RunError(f"{images} is a link; remove it, or choose another --out")
    for image in {image.digest: image for sample in samples for image in sample.images if image.digest}.values():
        _keep(image, images)
    lines = [json.dumps(encodable_values(sample_record(sample)), ensure_ascii=False) + "\n" for sample in samples]
    _write(folder / SAMPLES, "".join(lines))


def sample_record(sample: Sample) -> dict[str, Any]:
    """A sample as runs and logs keep it: images by the name they have below `images/`, never by another path."""
    record = sample_to_json(sample)
    for turn, written in zip(sample.turns, record["turns"], strict=True):
        written["images"] = [_image_record(image) for image in turn.images]
    return record


def recorded_sample(record: Any, folder: Path | None) -> Sample:
    """Read what `sample_record` gave; images are found below the run's folder or have a name and digest only.

    Args:
        record: The JSON object; whoever wrote it, no picture from elsewhere is read.
        folder: The run's folder; None where a log comes alone.

    Raises:
        RunError: It is no such object.
    """
    images = None if folder is None or (folder / IMAGES).is_symlink() else folder / IMAGES
    sample = sample_from_json(record, images)
    refs = tuple(
        image if image.path is not None and image.root is not None and image.root == images else _named(image)
        for image in sample.images
    )
    return sample.with_images(refs) if refs else sample


def read_samples(folder: Path) -> tuple[Sample, ...]:
    """The samples of a run, in order; none where they were not recorded.

    Raises:
        RunError: A line is damaged.
    """
    path = folder / SAMPLES
    return tuple(
        recorded_sample(parse_json(line, RunError, source=f"{path}:{number}"), folder)
        for number, line in read_lines(path)
    )


def _named(image: ImageRef) -> ImageRef:
    return replace(image, path=None, root=None)


def _image_record(image: ImageRef) -> dict[str, Any]:
    record: dict[str, Any] = {"key": image.key, "digest": image.digest}
    if image.url is not None:
        return record | {"url": image.url}
    start = _start(image) if image.digest else b""
    return record | {"file": image_file(image.digest, start)} if start else record


def _start(image: ImageRef) -> bytes:
    """The first bytes of an image, which tell its format; none if it cannot be read."""
    if image.data is not None:
        return image.data[:16]
    if image.path is None:
        return b""
    try:
        with check_path(image).open("rb") as file:
            return file.read(16)
    except (ImageError, OSError):
        return b""


def _keep(image: ImageRef, images: Path) -> None:
    start = _start(image)
    path = images / image_file(image.digest, start)
    if not start or path.is_file():
        return
    try:
        images.mkdir(exist_ok=True)
        if image.path is not None:
            with contextlib.suppress(OSError):
                os.link(check_path(image), path)
                return
        write_atomically(path, read_bytes(image))
    except ImageError:  # it was there a moment ago; asking about it will tell
        return
    except OSError as error:
        raise _unwritable(path, error) from error


def _write(path: Path, content: str | bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"cannot write {path}: {error.strerror or error}; make room and start the same command again")
