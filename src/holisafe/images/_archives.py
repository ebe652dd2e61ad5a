"""Files in zip and tar archives, one after the other, without extracting anything.

What an archive says of itself is believed nowhere: sizes are checked as they are read, and positions only go forward.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Protocol

from holisafe.errors import ImageError
from holisafe.images._door import ImageLimits, looks_like_image
from holisafe.images.limits import Budget, SourceLimits

START = 262
"""Bytes that tell what a file is; a tar archive says so after 257."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")
_MAX_HEADERS = 2**20
"""Bytes that the headers of one file in a tar archive may have."""
_MAX_DIRECTORY = 2**26
"""Bytes that the list of files of a zip archive may have: about 800,000 files."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive that is called an image or begins like one.

    Attributes:
        name: Its name in the archive.
        data: Its bytes; None where it cannot be read.
        error: Why not.
    """

    name: str
    data: bytes | None
    error: str = ""


def is_image(name: str, start: bytes) -> bool:
    """Whether a file is called an image or begins like one; hidden files are called what they please."""
    return (name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")) or looks_like_image(start)


def in_zip(file: BinaryIO, size: int, limits: ImageLimits, source: SourceLimits) -> Iterator[Member | None]:
    """The files of a zip archive of `size` bytes; None for each that is no image.

    Raises:
        ImageError: It takes more than allowed.
        Exception: It is damaged; zipfile and zlib raise several kinds.
    """
    budget = source.budget(size)
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        overlapping = _overlapping(archive)
        for info in archive.infolist():
            if info.is_dir():
                continue
            budget.spend(0, items=1)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # the others may ask for any amount of memory before the first byte
                yield Member(
                    info.filename, None, "packed by a rare method; expected a zip archive of stored or deflated files"
                )
            elif stat.S_ISLNK(info.external_attr >> 16):
                yield Member(info.filename, None, "a link, not an image; links in archives are not followed")
            elif info.header_offset in overlapping:
                yield Member(info.filename, None, "shares its bytes with another file (a decompression bomb?)")
            else:
                yield _zipped(archive, info, limits, budget)


def in_tar(file: BinaryIO, size: int, limits: ImageLimits, source: SourceLimits) -> Iterator[Member | None]:
    """The files of a tar archive of `size` bytes, packed by gzip or not; None for each that is no image.

    Raises:
        ImageError: It takes more than allowed, or a header is damaged.
        Exception: It is damaged; tarfile, gzip and zlib raise several kinds.
    """
    budget = source.budget(size)
    is_packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    content: Any = gzip.GzipFile(fileobj=file) if is_packed else file
    forward = _Forward(content, budget.size)
    headers = _Headers(forward)
    archive = tarfile.TarFile(fileobj=headers)  # type: ignore[arg-type]  # needs no more than these three
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined]  # else it keeps all it has seen
        if member.size < 0:
            raise ImageError("a file's header gives a negative size, and what follows it cannot be found")
        if not member.isdir():
            budget.spend(0, items=1)
            yield _tarred(forward, member, limits)
        headers.allowed = _MAX_HEADERS
    if any(headers.latest) or 0 < len(headers.latest) < tarfile.BLOCKSIZE:
        raise ImageError("a file's header is damaged, and what follows it cannot be found")
    if not headers.latest:
        raise ImageError("it lacks the empty block that ends a tar archive, so files at its end may be missing")


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse a list of files that zipfile, which reads all of it, would fill the memory with."""
    file.seek(max(0, size - 2**16 - 98))
    end = file.read(2**16 + 98)
    file.seek(0)
    place = end.rfind(b"PK\x05\x06")
    length = int.from_bytes(end[place + 12 : place + 16], "little") if place >= 0 else 0
    large = end.rfind(b"PK\x06\x06")
    if large >= 0:
        length = max(length if length < 2**32 - 1 else 0, int.from_bytes(end[large + 40 : large + 48], "little"))
    if length > _MAX_DIRECTORY:
        raise ImageError(f"its list of files has {length} bytes, more than the {_MAX_DIRECTORY} allowed; split it")


def _overlapping(archive: zipfile.ZipFile) -> set[int]:
    """Where files begin that share bytes with another, as no honest archive has them."""
    found: set[int] = set()
    end = reaching = -1
    for start, size in sorted((info.header_offset, info.compress_size) for info in archive.infolist()):
        if start < end:
            found |= {start, reaching}
        # 30: the header before a file's bytes, without its name
        if start + 30 + size > end:
            end, reaching = start + 30 + size, start
    return found


def _zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: ImageLimits, budget: Budget) -> Member | None:
    try:
        with archive.open(info) as file:
            found = _member(info.filename, info.file_size, file, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Member(info.filename, None, f"cannot be taken out of the archive ({reason})")
    if found is not None and found.data is not None:
        budget.spend(len(found.data))
    return found


def _tarred(file: _Forward, member: tarfile.TarInfo, limits: ImageLimits) -> Member | None:
    if not member.isfile() or member.issparse():
        return Member(member.name, None, "a link, a device or a sparse file; expected an ordinary one")
    file.seek(member.offset_data)
    return _member(member.name, member.size, file, limits)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _member(inner: str, size: int, file: _Readable, limits: ImageLimits) -> Member | None:
    """One file of an archive, not read any further than an image may be large; None where it is passed over."""
    start = file.read(min(size, START))
    place = PurePosixPath(inner.replace("\\", "/"))
    if not is_image(place.name, start):
        return None
    if place.is_absolute() or ".." in place.parts:
        return Member(inner, None, "its name leads out of the archive (an absolute path, or '..' in it)")
    if size > limits.max_bytes:
        return Member(inner, None, f"{size} bytes are more than the {limits.max_bytes} allowed; scale it down")
    data = start + file.read(size - len(start))
    if len(data) < size:
        return Member(inner, None, f"cut off: {len(data)} of {size} bytes are there; get the archive again")
    return Member(inner, data)


class _Forward:
    """A file that is read up to a bound, and of which no more is unpacked to get there."""

    def __init__(self, file: BinaryIO, bound: int) -> None:
        self._file = file
        self._bound = bound

    def read(self, size: int) -> bytes:
        if size < 0:
            raise ImageError("a header gives a negative size, and what follows it cannot be found")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        if position > self._bound:
            raise ImageError(
                f"unpacks to more than the {self._bound} bytes allowed for its size (a decompression bomb?), or is cut "
                "off"
            )
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


class _Headers:
    """What tarfile reads headers from: never so much at once that hostile ones could fill the memory."""

    def __init__(self, file: _Forward) -> None:
        self._file = file
        self._furthest = -1
        self.allowed = _MAX_HEADERS
        self.latest = b""

    def read(self, size: int) -> bytes:
        if size > self.allowed:
            raise ImageError(f"a file's headers have more than the {_MAX_HEADERS} bytes allowed")
        self.allowed -= max(0, size)
        self.latest = self._file.read(size)
        return self.latest

    def seek(self, position: int) -> int:
        if position <= self._furthest:  # a sparse file of negative size leads to its own header
            raise ImageError("a header leads back to an earlier one; get the archive again")
        self._furthest = position
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()
