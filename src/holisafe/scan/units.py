"""What a scan is divided into: units, each read by one worker from its beginning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from holisafe.errors import ImageError
from holisafe.images import LIMITS, ImageLimits, read_bytes
from holisafe.images.sources import ImageSources, Shard, SourceFile, SourceItem, reason_of
from holisafe.scan import hub

LOOSE = 256
"""Images that are files of their own and make one unit."""

ROWS = 64
BYTES = 2**25
"""Most rows, and bytes of encoded images, that are held before they are scanned; one image may always be held."""


class Unit(Protocol):
    """A part of a source. Picklable."""

    @property
    def name(self) -> str:
        """Where it is, or where it begins."""

    @property
    def size(self) -> int:
        """Bytes; 0 where that is not known."""

    def items(self) -> Iterator[SourceItem]:
        """Its images, in the same order each time; nothing is decoded."""


@dataclass(frozen=True)
class FileUnit:
    """A file that holds many images, or some images that are files of their own."""

    files: tuple[SourceFile, ...]

    @property
    def name(self) -> str:
        """Its first file."""
        return self.files[0].name

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.size for file in self.files)

    def items(self) -> Iterator[SourceItem]:
        """Its images."""
        reader = ImageSources([])
        for file in self.files:
            yield from reader.items_of(file)


class Units:
    """The units of some places; may be gone through more than once.

    Attributes:
        passed_over: Files that were passed over so far, since they hold no images.
    """

    def __init__(
        self,
        places: Sequence[str],
        *,
        leave_out: Sequence[str | Path] = (),
        shard: Shard | None = None,
        column: str | None = None,
    ) -> None:
        """Look whether the places are there.

        Args:
            places: What `ImageSources` takes, and `hf:PATH[:CONFIG][@SPLIT]` for data sets that are streamed.
            leave_out: Files and folders that are none of them.
            shard: The part of them all to scan.
            column: Column of the images of data sets that are streamed; found when None.

        Raises:
            ImageError: A place is not there.
            MissingDependencyError: A place needs a library that is not installed.
        """
        self._shard = shard or Shard()
        places = list(dict.fromkeys(places))
        files = [place for place in places if not hub.is_streamed(place)]
        self._sources = ImageSources(files, leave_out=leave_out, shard=self._shard) if files else None
        self._streamed = [hub.open_stream(place, column) for place in places if hub.is_streamed(place)]

    @property
    def passed_over(self) -> int:
        """Files that were passed over so far."""
        return 0 if self._sources is None else self._sources.passed_over

    def __iter__(self) -> Iterator[Unit]:
        """Find them one by one."""
        if self._sources is not None:
            for is_loose, group in groupby(self._sources.files(), lambda file: file.kind == "image"):
                yield from map(FileUnit, _by(group, LOOSE if is_loose else 1))
        for stream in self._streamed:
            yield from stream.units(self._shard)


def rows_of_unit(
    unit: Unit, is_done: Callable[[str], bool] = lambda _: False, limits: ImageLimits = LIMITS
) -> Iterator[dict[str, Any]]:
    """The images of a unit as rows that a `Scanner` takes: `id`, `bytes` or `error`, and `key`."""
    for item in _with_different_names(unit.items()):
        if not is_done(item.name):
            yield _row(item, limits)


def chunks(rows: Iterable[dict[str, Any]], count: int = ROWS, size: int = BYTES) -> Iterator[list[dict[str, Any]]]:
    """Rows in lists that are bounded by count and by bytes."""
    held: list[dict[str, Any]] = []
    total = 0
    for row in rows:
        length = len(row["bytes"] or b"")
        if held and (len(held) >= count or total + length > size):
            yield held
            held, total = [], 0
        held.append(row)
        total += length
    if held:
        yield held


def _with_different_names(items: Iterable[SourceItem]) -> Iterator[SourceItem]:
    """An archive may hold two files of one name: the second is called NAME#2, so that each has a row.

    Where a file of the archive has that name itself, the next number is taken.
    """
    seen: Counter[bytes] = Counter()
    for item in items:
        name = item.name
        while seen[_short(name)]:
            seen[_short(item.name)] += 1
            name = f"{item.name}#{seen[_short(item.name)]}"
        seen[_short(name)] += 1
        yield item if name == item.name else replace(item, name=name)


def _short(name: str) -> bytes:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def _row(item: SourceItem, limits: ImageLimits) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.name, "bytes": None, "error": item.error, "key": item.key}
    if item.ref is None:
        return row
    try:
        return row | {"bytes": read_bytes(item.ref, limits=limits)}
    except ImageError as error:
        return row | {"error": reason_of(error, item.ref)}
    except Exception as error:  # nothing of one image ends a scan
        return row | {"error": " ".join(str(error).split()) or type(error).__name__}


def _by(files: Iterable[SourceFile], count: int) -> Iterator[tuple[SourceFile, ...]]:
    held: list[SourceFile] = []
    for file in files:
        held.append(file)
        if len(held) == count:
            yield tuple(held)
            held = []
    if held:
        yield tuple(held)
