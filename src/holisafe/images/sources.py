"""Images by the thousand: from files, folders, archives, Parquet files and fsspec URLs, one after the other.

Nothing is extracted to disk, and one image is held at a time. What each image may be, `holisafe.images` decides; an
image that it does not let in is given with the reason, and the others are still read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from holisafe.errors import HoliSafeError, ImageError
from holisafe.images import _remote
from holisafe.images._archives import START, Member, in_tar, in_zip, is_image
from holisafe.images._door import LIMITS, ImageLimits, check_path, looks_like_image, open_image
from holisafe.images._items import Shard, SourceFile, SourceImage, SourceItem
from holisafe.images._parquet_child import check_packing as _check_packing
from holisafe.images.limits import SOURCE_LIMITS, SourceLimits, size_of
from holisafe.images.parquet import read_rows
from holisafe.records import ImageRef

__all__ = ["ImageSources", "Shard", "SourceFile", "SourceImage", "SourceItem", "check_packing", "reason_of"]


class ImageSources:
    """All images of some places, in a stable order; may be gone through more than once.

    A place is an image, a folder (with all folders in it, by name), a .zip, .tar or .tar.gz archive, a Parquet
    file with a column of encoded images (bytes, or bytes and path as data sets on the Hub have them), or an fsspec URL
    of any of them ("s3://bucket/shards/*.tar"). In a folder or archive, what neither is called an image nor begins
    like one is passed over; archives and Parquet files are read in folders too, but not in archives. Links that lead
    out of a folder are not followed.

    Attributes:
        passed_over: Files that were passed over so far.
    """

    def __init__(
        self,
        places: Sequence[str | Path],
        *,
        leave_out: Sequence[str | Path] = (),
        limits: ImageLimits = LIMITS,
        source_limits: SourceLimits = SOURCE_LIMITS,
        shard: Shard | None = None,
    ) -> None:
        """Look whether the places are there.

        Args:
            places: Files, folders and URLs.
            leave_out: Files and folders that are none of them, wherever they lie (what is being written meanwhile).
            limits: How large an image may be.
            source_limits: How much an archive or Parquet file may give.
            shard: The part of the images to read; all of them when not given.

        Raises:
            ImageError: A place is not there, or is neither a file nor a folder.
            MissingDependencyError: A place is a URL, and fsspec is not installed.
        """
        self.passed_over = 0
        self._places: list[Path | _remote.RemoteFile] = []
        for place in places:
            if isinstance(place, str) and _remote.is_url(place):
                self._places += _remote.files_of(place)
            else:
                self._places.append(_checked(Path(place)))
        self._leave_out = [_real(Path(path)) for path in leave_out]
        self._limits = limits
        self._source_limits = source_limits
        self._shard = shard or Shard()

    def __iter__(self) -> Iterator[SourceImage]:
        """Decode them one by one."""
        for item in self.items():
            if item.ref is None:
                yield SourceImage(item.name, None, item.error)
                continue
            try:
                yield SourceImage(item.name, open_image(item.ref, limits=self._limits))
            except ImageError as error:
                yield SourceImage(item.name, None, reason_of(error, item.ref))

    def items(self) -> Iterator[SourceItem]:
        """Find them one by one; nothing is decoded."""
        for file in self.files():
            yield from self.items_of(file)

    def files(self) -> Iterator[SourceFile]:
        """The files of this part, in the order of `items`; only their first bytes are read."""
        units = count()
        by_image = 1 < self._shard.count > len(self._places)
        described = {_stem(place) for place in self._places if _stem(place)}
        for place in self._places:
            if _is_described(place, described):
                self.passed_over += 1
            elif isinstance(place, Path) and place.is_dir():
                yield from self._in_folder(place, units)
            elif by_image:
                # every part reads the place, and numbers what is in it alike
                yield SourceFile(_name_of(place), place, part=self._shard, first=next(units))
            elif self._shard.has(next(units)):
                yield SourceFile(_name_of(place), place)

    def items_of(self, file: SourceFile) -> Iterator[SourceItem]:
        """The images of one file."""
        if file.part is None:
            yield from self._of_file(file)
            return
        numbered = enumerate(self._of_file(file), file.first)
        yield from (item for number, item in numbered if file.part.has(number))

    def _of_file(self, file: SourceFile) -> Iterator[SourceItem]:
        if file.place is None:
            yield SourceItem(file.name, None, file.error)
        elif isinstance(file.place, _remote.RemoteFile):
            place = file.place
            yield from _until_damaged(file.name, _remote.patiently(lambda: self._in_remote(place)))
        elif file.root is None:
            start = _first_bytes(file.place)
            read = self._reader_of(start)
            resolved = file.place.resolve()
            if read is None and (reason := _not_begun(file.name, start)):
                yield SourceItem(file.name, None, reason)
            elif read is None:
                yield SourceItem(file.name, ImageRef(file.name, path=resolved))
            else:
                yield from _until_damaged(file.name, read(resolved, file.name))
        else:
            ref = ImageRef(file.name, path=file.place, root=file.root)
            if file.kind == "image":
                yield SourceItem(file.name, ref)
                return
            try:
                resolved = check_path(ref)
            except ImageError as error:
                yield SourceItem(file.name, None, reason_of(error, ref))
                return
            read = self._in_parquet if file.kind == "parquet" else self._in_archive
            yield from _until_damaged(file.name, read(resolved, file.name))

    def _in_remote(self, place: _remote.RemoteFile) -> Iterator[SourceItem]:
        name = _text(place.name)
        with place.open() as file:
            start = file.read(START)
            file.seek(0)
            kind = _kind_of(start)
            if kind == "parquet":
                with _remote.copied(file) as path:
                    yield from self._in_parquet(path, name)
            elif kind is not None:
                yield from self._members(kind, file, place.size, name)
            elif is_image(name.rpartition("/")[2], start):
                yield SourceItem(name, ImageRef(name, data=file.read(self._limits.max_bytes + 1)))
            elif reason := _not_begun(name, start):
                yield SourceItem(name, None, reason)
            else:
                self.passed_over += 1

    def _reader_of(self, start: bytes) -> Callable[[Path, str], Iterator[SourceItem]] | None:
        """What reads a file that begins so, where it holds many images."""
        kind = _kind_of(start)
        if kind is None:
            return None
        return self._in_parquet if kind == "parquet" else self._in_archive

    def _in_folder(self, root: Path, units: Iterator[int]) -> Iterator[SourceFile]:
        pending = [root]
        while pending:
            path = pending.pop()
            try:
                if path != root and self._is_left_out(path):
                    continue
                if path == root or (not path.is_symlink() and path.is_dir()):  # a person may name a link as root
                    with os.scandir(path) as entries:
                        names = sorted((entry.name for entry in entries), reverse=True)
                    described = {stem for name in names if (stem := _stem(path / name))}
                    kept = [path / name for name in names if not _is_described(path / name, described)]
                    self.passed_over += len(names) - len(kept)
                    pending += kept
                    continue
                found = self._of_folder(path, root, units)
            except (OSError, ValueError, RuntimeError) as error:  # may not be entered, name too long, links in a circle
                reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
                if not self._shard.has(next(units)):
                    continue
                found = SourceFile(_text(path), None, error=f"cannot be read or listed ({_text(reason)[:200]})")
            if found is not None:
                yield found

    def _is_left_out(self, path: Path) -> bool:
        return any(path.name == left.name and _real(path) == left for left in self._leave_out)

    def _of_folder(self, path: Path, root: Path, units: Iterator[int]) -> SourceFile | None:
        start = _first_bytes(path)
        kind = _kind_of(start) if path.name.lower().endswith(_CONTAINERS) else None
        reason = _not_begun(path.name, start)
        if kind is None and not reason and not is_image(path.name, start):
            self.passed_over += 1
            return None
        if not self._shard.has(next(units)):
            return None
        return SourceFile(_text(path), None if reason else path, root, kind or "image", reason)

    def _in_archive(self, path: Path, name: str) -> Iterator[SourceItem]:
        with path.open("rb") as file:
            kind = _kind_of(file.read(START))
            file.seek(0)
            yield from self._members(kind, file, size_of(path), name)

    def _members(self, kind: str | None, file: BinaryIO, size: int, name: str) -> Iterator[SourceItem]:
        read = in_zip if kind == "zip" else in_tar
        members: Iterator[Member | None] = read(file, size, self._limits, self._source_limits)
        for member in members:
            if member is None:
                self.passed_over += 1
                continue
            key = f"{name}/{_text(member.name)}"
            sample = _sample_key(_text(member.name))
            if member.data is None:
                yield SourceItem(key, None, _text(member.error), sample)
            else:
                yield SourceItem(key, ImageRef(key, data=member.data), "", sample)

    def _in_parquet(self, path: Path, name: str) -> Iterator[SourceItem]:
        rows = read_rows(path, _ParquetError, columns="images", limits=self._source_limits, batch_rows=8)
        for row, values in enumerate(rows):
            yield from self._of_row(values, f"{name}#{row}", path.parent)

    def _of_row(self, values: dict[str, Any], name: str, folder: Path) -> Iterator[SourceItem]:
        given = {column: value for column, value in values.items() if value is not None and value != []}
        if not given:
            yield SourceItem(name, None, "the row holds no image")
        for column, value in given.items():
            named = name if len(values) == 1 else f"{name}/{_text(column)}"
            several = enumerate(value) if isinstance(value, list) else [(None, value)]
            for place, one in several:
                key = named if place is None else f"{named}[{place}]"
                data, path = (one.get("bytes"), one.get("path")) if isinstance(one, dict) else (one, None)
                if isinstance(data, bytes):
                    yield SourceItem(key, ImageRef(key, data=data))
                elif isinstance(path, str):
                    yield SourceItem(key, ImageRef(key, path=folder / path, root=folder))
                else:
                    yield SourceItem(key, None, "the row holds no image")


_CONTAINERS = (".zip", ".tar", ".tar.gz", ".tgz", ".parquet")


class _ParquetError(HoliSafeError):
    """Of a Parquet file; becomes the reason of its last item."""


def check_packing(metadata: Any) -> None:
    """Refuse a Parquet file of which a column shrinks to a fiftieth: images are compressed already.

    Raises:
        ImageError: It holds such a column, and that is large.
    """
    try:
        _check_packing(metadata)
    except ValueError as error:
        raise ImageError(str(error)) from None


def reason_of(error: ImageError, ref: ImageRef) -> str:
    """What is wrong with an image, without its name in front."""
    text = str(error)
    for name in (str(ref.path), repr(str(ref.path)), f"image {ref.key!r}"):
        text = text.removeprefix(f"{name}: ")
    return _text(text)


def _sample_key(name: str) -> str:
    folder, _, last = name.rpartition("/")
    return f"{folder}/{last.partition('.')[0]}" if folder else last.partition(".")[0]


def _stem(place: Path | _remote.RemoteFile) -> str:
    """Where a tar shard is, without its suffix; empty for other files."""
    name = str(place if isinstance(place, Path) else place.name)
    return name[: -len(".tar")] if name.endswith(".tar") else ""


def _is_described(place: Path | _remote.RemoteFile, shards: Collection[str]) -> bool:
    """Whether a file is the Parquet table of metadata that img2dataset writes beside each tar shard."""
    name = str(place if isinstance(place, Path) else place.name)
    return name.endswith(".parquet") and name[: -len(".parquet")] in shards


def _name_of(place: Path | _remote.RemoteFile) -> str:
    return _text(place if isinstance(place, Path) else place.name)


def _checked(place: Path) -> Path:
    """What a person names may be a link to anywhere; what lies in a folder may not."""
    try:
        if place.is_dir():
            return place
        resolved = place.resolve() if place.exists() else place
    except (OSError, ValueError, RuntimeError):
        resolved = place  # the door says what is wrong with it
    check_path(ImageRef(str(place), path=resolved))
    return place


def _real(path: Path) -> Path:
    """Where a path leads; itself where its links go in a circle."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _kind_of(start: bytes) -> str | None:
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return "tar"
    return "parquet" if start.startswith(b"PAR1") else None


def _not_begun(name: str, start: bytes) -> str:
    """Why a file that is called an archive or Parquet file is none; empty where it is one, or called otherwise."""
    is_container = name.lower().endswith(_CONTAINERS) and not looks_like_image(start)
    is_empty_tar = len(start) == START and not any(start)
    if not is_container or is_empty_tar or _kind_of(start) is not None:
        return ""
    return "does not begin as an archive or a Parquet file does: it is damaged or empty; get the file again"


def _until_damaged(name: str, items: Iterator[SourceItem]) -> Iterator[SourceItem]:
    """The images of an archive or Parquet file up to where it is damaged, then what is wrong."""
    try:
        yield from items
    except _ParquetError as error:
        yield SourceItem(name, None, _text(str(error).partition(": ")[2]))
    except Exception as error:  # tarfile, zipfile, zlib and fsspec raise a dozen kinds for hostile bytes
        yield SourceItem(name, None, f"cannot be read, or not any further ({_words(error)}); get the file again")


def _first_bytes(path: Path) -> bytes:
    """None of them where it is no file that can be read."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return b""
        with path.open("rb") as file:
            return file.read(START)
    except (OSError, RuntimeError, ValueError):
        return b""


def _text(name: str | Path) -> str:
    """A name that can be written as UTF-8, whatever bytes the file system has for it."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _words(error: BaseException) -> str:
    return _text(" ".join(str(error).split()) or type(error).__name__)
