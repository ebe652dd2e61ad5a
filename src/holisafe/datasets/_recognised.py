"""Which released format a plain path looks like, so that a message can name it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from holisafe._files import parse_json
from holisafe.datasets._loaded import Level, Loaded, Problem
from holisafe.datasets._release_files import ReleaseFiles
from holisafe.datasets._released import Released, own_releases
from holisafe.errors import DataError

_MOST_BYTES = 2**26
"""Bytes of a file that is looked into."""

_LOOKED_AT = 4
"""Records that are looked at."""


def looks_like(path: Path) -> Released | None:
    """The format that a file, folder or zip looks like by its files' names or its records' fields; None if none."""
    known = own_releases()
    if not path.exists():
        return None
    by_name = [each for each in known if path.name in each.files or (each.files and _has_any(path, each))]
    if len(by_name) == 1:
        return by_name[0]
    records = list(islice(_records(path), _LOOKED_AT))
    by_record = [each for each in known if any(each.has_record(record) for record in records)]
    return by_record[0] if len(by_record) == 1 else None


def said_so(loaded: Loaded, path: Path) -> Loaded:
    """What was read of a plain path, with a note where its samples are another data set's, which has a format here."""
    title = loaded.samples[0].source if loaded.samples else ""
    named = next((each for each in own_releases() if each.title == title and each.fields), None)
    found = named if loaded.samples else looks_like(path)
    if found is None or not found.fields:  # a format that is read alike from a plain path has no fields of its own
        return loaded
    remedy = f"use --data {found.name}:{path} for its own prompts, image folders and figures"
    note = Problem(str(path), None, None, "record", f"this looks like {found.title}", "its name", remedy, Level.NOTE)
    return Loaded(loaded.samples, (*loaded.problems, note), loaded.responses)


def read_release(name: str, path: Path, read: Callable[[], Loaded]) -> Loaded:
    """What was read of a path as the release of that name; an error says so where it looks like another data set.

    Args:
        name: Name of the format.
        path: The file, folder or zip.
        read: Reads it.

    Raises:
        DataError: It cannot be read, or every record is broken and they look like another data set's.
    """
    try:
        loaded = read()
    except DataError as error:
        if (other := _other(name, path)) is None:
            raise
        raise DataError(f"{error}; this looks like {other.title}: use --data {other.name}:{path}") from error
    other = None if loaded.samples else _other(name, path)
    if other is None:
        return loaded
    first = f"the first: {loaded.broken[0]}; " if loaded.broken else ""
    raise DataError(
        f"{path}: no record of {name}; {first}this looks like {other.title}: use --data {other.name}:{path}"
    )


def _other(name: str, path: Path) -> Released | None:
    found = looks_like(path)
    return None if found is None or found.name == name else found


def _has_any(path: Path, release: Released) -> bool:
    files = ReleaseFiles(path, release.files)
    try:
        return (path.is_dir() or path.suffix == ".zip") and any(files.has(name) for name in release.files)
    except DataError:  # no readable zip
        return False


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    """Objects within the JSON at a path, the outermost first; nothing where it cannot be read."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    for file in files[:_LOOKED_AT]:
        try:
            if file.suffix != ".json" or not file.is_file() or file.stat().st_size > _MOST_BYTES:
                continue  # opening a pipe would wait for ever
            content = parse_json(file.read_bytes(), DataError, source=str(file), allow_nan=True)
        except (DataError, OSError, json.JSONDecodeError):
            continue
        yield from _objects(content, 3)


def _objects(value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    inner = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else []
    for each in islice(inner, _LOOKED_AT) if depth else ():
        yield from _objects(each, depth - 1)
