"""Files behind fsspec URLs: object stores, memory, other machines."""

from __future__ import annotations

import gzip
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from holisafe.errors import ImageError, MissingDependencyError

_T = TypeVar("_T")

PAUSES = (1.0, 4.0, 16.0)
"""Seconds between attempts to read a remote file, after those that the store's own client makes."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that fsspec opens.

    Attributes:
        name: Its URL.
        size: Its bytes.
        system: The fsspec file system.
        path: Its path there.
    """

    name: str
    size: int
    system: Any
    path: str

    def open(self) -> Any:
        """Open it for reading, with positions."""
        return self.system.open(self.path, "rb")


def is_url(place: str) -> bool:
    """Whether a place is written as a URL ("s3://…") and not as a path."""
    scheme, separator, _ = place.partition("://")
    return bool(separator) and scheme.replace("+", "").replace("-", "").isalnum()


def files_of(url: str) -> list[RemoteFile]:
    """The files that a URL names, in their order: one, those of a folder and below, or those of a pattern.

    Raises:
        ImageError: There are none, or the store cannot be reached.
        MissingDependencyError: fsspec, or what it needs for this kind of URL, is not installed.
    """
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        raise ImageError(f"{url}: an address on the network, not a file; download it")
    try:
        import fsspec
    except ImportError:
        raise MissingDependencyError(f"reading {url} needs fsspec; run: pip install fsspec") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
        if any(sign in path for sign in "*?["):
            found = system.glob(path, detail=True)
        else:
            found = system.find(path, detail=True)
        files = [
            RemoteFile(system.unstrip_protocol(name), int(about.get("size") or 0), system, name)
            for name, about in sorted(found.items())
            if about.get("type") != "directory"
        ]
    except ImportError as error:
        raise MissingDependencyError(f"reading {url} needs a package that is not installed: {error}") from None
    except Exception as error:  # every store has errors of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{url}: cannot be listed ({reason}); check the URL and your rights to it") from error
    if not files:
        raise ImageError(f"{url}: no such file; check the URL")
    return files


def patiently(read: Callable[[], Iterator[_T]], pauses: Sequence[float] = PAUSES) -> Iterator[_T]:
    """What a remote file holds; it is opened anew where the store throttles or breaks off.

    Args:
        read: Gives the same items in the same order each time.
        pauses: Seconds to wait before each further attempt.

    Raises:
        OSError: The store broke off each time.
    """
    given = 0
    for pause in (*pauses, None):
        try:
            for item in islice(read(), given, None):
                yield item
                given += 1
            return
        except (gzip.BadGzipFile, FileNotFoundError, PermissionError):
            raise  # it would be the same again
        except OSError:  # what fsspec's stores make of refused, throttled and broken connections
            if pause is None:
                raise
            time.sleep(pause)


@contextmanager
def copied(file: BinaryIO) -> Iterator[Path]:
    """The content in a local file, for readers that need one; removed when the block ends."""
    with tempfile.TemporaryDirectory(prefix="holisafe-") as folder:
        path = Path(folder) / "table.parquet"
        with path.open("xb") as copy:
            while chunk := file.read(2**20):
                copy.write(chunk)
        yield path
