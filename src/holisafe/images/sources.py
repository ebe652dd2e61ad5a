"""Images by the thousand: from files, folders, archives and Parquet files, one after the other.

Nothing is extracted to disk, and one image is held at a time. What each image may be, `holisafe.images` decides; an
image that it does not let in comes with the reason, and the rest go on.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

from PIL import Image

from holisafe.errors import ImageError
from holisafe.images import LIMITS, ImageLimits, check_path, looks_like_image, open_image
from holisafe.records import ImageRef


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One image, or why it cannot be had.

    Attributes:
        name: Where it is: "cat.png", "pets.zip/cat.png", "pets.parquet#12" (row, from 0).
        image: Its pixels, RGB; None where it cannot be had.
        error: Why not; empty where it can.
    """

    name: str
    image: Image.Image | None
    error: str = ""


class ImageSources:
    """All images of some places, in a stable order; may be gone through more than once.

    A place is an image, a folder (with all folders in it, by name), a .zip, .tar or .tar.gz archive, or a Parquet
    file with a column of encoded images (bytes, or bytes and path as data sets on the Hub have them). In a folder or
    archive, what neither is called an image nor begins like one is passed over; archives and Parquet files are read
    in folders too, but not in archives. Links that lead out of a folder are not followed.

    Attributes:
        passed_over: Files that were passed over so far.
    """

    def __init__(self, places: Sequence[Path], *, leave_out: Path | None = None, limits: ImageLimits = LIMITS) -> None:
        """Look whether the places are there.

        Args:
            places: Files and folders.
            leave_out: A file that is none of them, wherever it lies (what is being written meanwhile).
            limits: How large an image may be.

        Raises:
            ImageError: A place is not there, or is neither a file nor a folder.
        """
        for place in places:
            if not place.is_dir():
                # what a person names may be a link to anywhere; what lies in a folder may not
                check_path(ImageRef(str(place), path=place.resolve() if place.exists() else place))
        self.passed_over = 0
        self._places = tuple(places)
        self._leave_out = None if leave_out is None else leave_out.resolve()
        self._limits = limits

    def __iter__(self) -> Iterator[SourceImage]:
        """Decode them one by one."""
        for place in self._places:
            if place.is_dir():
                yield from self._in_folder(place)
                continue
            read = self._reader_of(_first_bytes(place))
            resolved = place.resolve()
            if read is None:
                yield self._open(ImageRef(_text(place), path=resolved))
            else:
                yield from _until_damaged(_text(place), read(resolved, _text(place)))

    def _reader_of(self, start: bytes) -> _Reader | None:
        """What reads a file that begins so, where it holds many images."""
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return self._in_zip
        if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
            return self._in_tar
        return self._in_parquet if start.startswith(b"PAR1") else None

    def _in_folder(self, root: Path) -> Iterator[SourceImage]:
        pending = [root]
        while pending:
            path = pending.pop()
            if path == root or (not path.is_symlink() and path.is_dir()):  # a root may be a link: a person named it
                try:
                    with os.scandir(path) as entries:
                        names = sorted((entry.name for entry in entries), reverse=True)
                except OSError as error:
                    yield SourceImage(_text(path), None, f"the folder cannot be listed ({error.strerror})")
                    continue
                pending += [path / name for name in names]
            elif self._leave_out is None or path.resolve() != self._leave_out:
                yield from self._of_folder(path, root)

    def _of_folder(self, path: Path, root: Path) -> Iterator[SourceImage]:
        ref = ImageRef(_text(path), path=path, root=root)
        start = _first_bytes(path)
        read = self._reader_of(start) if path.name.lower().endswith(_CONTAINERS) else None
        if read is not None:
            try:
                resolved = check_path(ref)
            except ImageError as error:
                yield SourceImage(ref.key, None, _reason(error, ref))
                return
            yield from _until_damaged(ref.key, read(resolved, ref.key))
        elif _is_image(path.name, start):
            yield self._open(ref)
        else:
            self.passed_over += 1

    def _in_zip(self, path: Path, name: str) -> Iterator[SourceImage]:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield from self._zipped(archive, info, name)

    def _zipped(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, archive_name: str) -> Iterator[SourceImage]:
        name = f"{archive_name}/{_text(info.filename)}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # the others may ask for any amount of memory before the first byte
            yield SourceImage(name, None, "packed by a rare method; expected a zip archive of stored or deflated files")
            return
        if stat.S_ISLNK(info.external_attr >> 16):
            yield SourceImage(name, None, "a link, not an image; links in archives are not followed")
            return
        try:
            with archive.open(info) as file:
                found = self._member(name, info.filename, info.file_size, file)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            found = SourceImage(name, None, f"cannot be taken out of the archive ({_words(error)})")
        if found is not None:
            yield found

    def _in_tar(self, path: Path, name: str) -> Iterator[SourceImage]:
        with path.open("rb") as plain:
            is_packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            file: Any = gzip.GzipFile(fileobj=plain) if is_packed else plain
            headers = _Headers(file)
            archive = tarfile.TarFile(fileobj=headers)  # type: ignore[arg-type]  # needs no more than these three
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # else it keeps all it has seen
                if not member.isdir():
                    found = self._tarred(file, member, name)
                    if found is not None:
                        yield found
                headers.allowed = _MAX_HEADERS
            if any(headers.latest) or 0 < len(headers.latest) < tarfile.BLOCKSIZE:
                raise ImageError("a file's header is damaged, and what follows it cannot be found")

    def _tarred(self, file: BinaryIO, member: tarfile.TarInfo, archive_name: str) -> SourceImage | None:
        name = f"{archive_name}/{_text(member.name)}"
        if not member.isfile() or member.issparse():
            return SourceImage(name, None, "a link, a device or a sparse file; expected an ordinary one")
        file.seek(member.offset_data)
        return self._member(name, member.name, member.size, file)

    def _member(self, name: str, inner: str, size: int, file: _Readable) -> SourceImage | None:
        """One file of an archive, not read any further than an image may be large; None where it is passed over."""
        start = file.read(min(size, _START))
        place = PurePosixPath(inner.replace("\\", "/"))
        if not _is_image(place.name, start):
            self.passed_over += 1
            return None
        if place.is_absolute() or ".." in place.parts:
            return SourceImage(name, None, "its name leads out of the archive (an absolute path, or '..' in it)")
        if size > self._limits.max_bytes:
            return SourceImage(
                name, None, f"{size} bytes are more than the {self._limits.max_bytes} allowed; scale it down"
            )
        data = start + file.read(size - len(start))
        if len(data) < size:
            return SourceImage(name, None, f"cut off: {len(data)} of {size} bytes are there; get the archive again")
        return self._open(ImageRef(name, data=data))

    def _in_parquet(self, path: Path, name: str) -> Iterator[SourceImage]:
        import pyarrow.parquet as pq

        # buffered, so that no more of a row group is held than is being read
        with pq.ParquetFile(path, buffer_size=2**20) as table:
            columns = _image_columns(table.schema_arrow)
            if not columns:
                known = ", ".join(table.schema_arrow.names)
                raise ImageError(f"no column holds images: expected bytes, or bytes and path; found {known}")
            check_packing(table.metadata)
            row = 0
            for batch in table.iter_batches(batch_size=8, columns=columns, use_threads=False):
                for values in batch.to_pylist():
                    yield from self._of_row(values, f"{name}#{row}", path.parent)
                    row += 1

    def _of_row(self, values: dict[str, Any], name: str, folder: Path) -> Iterator[SourceImage]:
        for column, value in values.items():
            named = name if len(values) == 1 else f"{name}/{_text(column)}"
            several = enumerate(value) if isinstance(value, list) else [(None, value)]
            for place, one in several:
                key = named if place is None else f"{named}[{place}]"
                data, path = (one.get("bytes"), one.get("path")) if isinstance(one, dict) else (one, None)
                if data is not None:
                    yield self._open(ImageRef(key, data=data))
                elif path is not None:
                    yield self._open(ImageRef(key, path=folder / path, root=folder))
                else:
                    yield SourceImage(key, None, "the row holds no image")

    def _open(self, ref: ImageRef) -> SourceImage:
        try:
            return SourceImage(ref.key, open_image(ref, limits=self._limits))
        except ImageError as error:
            return SourceImage(ref.key, None, _reason(error, ref))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


_Reader = Callable[[Path, str], Iterator[SourceImage]]

_START = 262  # of a file; a tar archive says what it is after 257 bytes
_IMAGES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")
_CONTAINERS = (".zip", ".tar", ".tar.gz", ".tgz", ".parquet")
_MAX_HEADERS = 2**20
"""Bytes that the headers of one file in a tar archive may have."""


class _Headers:
    """What tarfile reads headers from: never so much at once that hostile ones could fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.allowed = _MAX_HEADERS
        self.latest = b""

    def read(self, size: int) -> bytes:
        if size > self.allowed:
            raise ImageError(f"a file's headers have more than the {_MAX_HEADERS} bytes allowed")
        self.allowed -= size
        self.latest = self._file.read(size)
        return self.latest

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def _until_damaged(name: str, images: Iterator[SourceImage]) -> Iterator[SourceImage]:
    """The images of an archive or Parquet file up to where it is damaged, then what is wrong."""
    try:
        yield from images
    except Exception as error:  # tarfile, zipfile, zlib and pyarrow raise a dozen kinds for hostile bytes
        yield SourceImage(name, None, f"cannot be read, or not any further ({_words(error)}); get the file again")


def _first_bytes(path: Path) -> bytes:
    """None of them where it is no file that can be read."""
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            return b""
        with path.open("rb") as file:
            return file.read(_START)
    except OSError:
        return b""


def _is_image(name: str, start: bytes) -> bool:
    """Whether it is called an image or begins like one; hidden files are called what they please."""
    return (name.lower().endswith(_IMAGES) and not name.startswith(".")) or looks_like_image(start)


def _image_columns(schema: Any) -> list[str]:
    """Columns that hold encoded images: those with bytes and path, else "image", else all of bytes."""
    import pyarrow as pa

    pairs, plain = [], []
    for field in schema:
        kind = field.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            members = {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}
            if _is_binary(members.get("bytes")):
                pairs.append(field.name)
        elif _is_binary(kind):
            plain.append(field.name)
    return pairs or (["image"] if "image" in plain else plain)


def check_packing(metadata: Any) -> None:
    """Refuse a Parquet file of which a column shrinks to a fiftieth: images are compressed already.

    Raises:
        ImageError: It holds such a column, and that is large.
    """
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            size = column.total_uncompressed_size
            if size > 2**28 and size > 50 * column.total_compressed_size:
                raise ImageError(f"column {column.path_in_schema} unpacks to {size} bytes (a decompression bomb?)")


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    return kind is not None and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _text(name: str | Path) -> str:
    """A name that can be written as UTF-8, whatever bytes the file system has for it."""
    return str(name).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _reason(error: ImageError, ref: ImageRef) -> str:
    """What is wrong, without the name in front."""
    text = str(error)
    for name in (str(ref.path), f"image {ref.key!r}"):
        text = text.removeprefix(f"{name}: ")
    return _text(text)


def _words(error: BaseException) -> str:
    return _text(" ".join(str(error).split()) or type(error).__name__)
