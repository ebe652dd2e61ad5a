"""Records of a release that is a table (CSV, JSON Lines, Parquet), and images that stand within its rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from holisafe._printable import encodable
from holisafe.datasets._release_files import ReleaseFiles
from holisafe.datasets._release_reader import ReleaseReader, WrongField, mapping
from holisafe.datasets._rows import PARQUET, SUFFIXES, BrokenRow, read_file, rows_of
from holisafe.datasets._values import MISSING, show
from holisafe.errors import DataError
from holisafe.images import content_hash, identify
from holisafe.records import ImageRef


def release_rows(files: ReleaseFiles, name: str) -> Iterable[Any]:
    """The records of one file of a release, told by its suffix.

    Args:
        files: The release.
        name: The file, relative to the release's folder.

    Raises:
        DataError: There are no records to be had, or it is a Parquet file within a zip.
    """
    place = files.folder / name
    if place.is_file():
        return read_file(place)
    if PurePosixPath(name).suffix.lower() in PARQUET:
        raise DataError(f"{files.describe(name)}: Parquet within a zip; unpack the zip and name its folder")
    return rows_of(files.text(name).encode(), Path(files.describe(name)))


def tables(files: ReleaseFiles, names: Sequence[str]) -> list[str]:
    """The tables of a release: the first of the given names, else all that lie in its folder, or in `data` or `test`.

    Args:
        files: The release.
        names: File names, relative to the release's folder, in order of preference.
    """
    if not files.folder.is_dir() and files.path.suffix != ".zip":
        return [files.main]
    if found := next((name for name in names if files.has(name)), None):
        return [found]
    for folder in ("", "data", "test"):
        if listed := [name for name in files.names(folder) if PurePosixPath(name).suffix.lower() in SUFFIXES]:
            return listed
    return []


def row(value: Any) -> Mapping[str, Any]:
    """A record of a table.

    Raises:
        WrongField: It could not be parsed, or is no object.
    """
    if isinstance(value, BrokenRow):
        raise WrongField("record", value.reason, "a readable record")
    return mapping(value)


def row_image(reader: ReleaseReader, raw: Mapping[str, Any], field: str, *folders: str) -> ImageRef:
    """The image of a field: its encoded bytes, as Parquet holds them (`{bytes, path}`), or the name of a file.

    Args:
        reader: The reader of the release.
        raw: The record.
        field: The field.
        folders: Folders of the release in which a named file is looked for before the release's own folder.

    Raises:
        WrongField: There is none, or it cannot be read.
    """
    value = raw.get(field, MISSING)
    data = value.get("bytes") if isinstance(value, Mapping) else value
    if isinstance(data, bytes) and data:
        named = value.get("path") if isinstance(value, Mapping) else None
        key = encodable(named) if isinstance(named, str) and named else content_hash(data)
        return identify(ImageRef(key, data=data))
    name = value.get("path") if isinstance(value, Mapping) else value
    if not isinstance(name, str) or not name.strip():
        raise WrongField(field, show(value), "an image, or the name of its file")
    return reader.image(field, *(f"{folder}/{name}" for folder in folders), name)
