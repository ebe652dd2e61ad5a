"""How much one archive or Parquet file may give, whatever it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holisafe.errors import ImageError


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Limits for one file that holds many images or rows.

    Attributes:
        free_bytes: Bytes that any file may unpack to.
        expansion: Bytes it may unpack to beyond that, over its own size; images hardly shrink when they are packed.
        max_items: Files in an archive, or rows of a Parquet file.
        memory: Memory of the process that reads a Parquet file, in bytes beyond its libraries.
        seconds: Longest wait for the next rows of a Parquet file.
    """

    free_bytes: int = 2**28
    expansion: int = 100
    max_items: int = 50_000_000
    memory: int = 2**31
    seconds: float = 60.0

    def budget(self, size: int) -> Budget:
        """What a file of `size` bytes may give."""
        return Budget(self.free_bytes + self.expansion * size, self.max_items)


SOURCE_LIMITS = SourceLimits()


class Budget:
    """What is left of one file's limits."""

    def __init__(self, size: int, items: int) -> None:
        self.size = size
        self._left = size
        self._items = items

    def spend(self, size: int, *, items: int = 0) -> None:
        """Count bytes and items that were taken out, or are about to be.

        Raises:
            ImageError: They are more than allowed.
        """
        self._left -= size
        self._items -= items
        if self._left < 0:
            raise ImageError(f"unpacks to more than the {self.size} bytes allowed for its size (a decompression bomb?)")
        if self._items < 0:
            raise ImageError("holds more files or rows than allowed; split it")


def size_of(path: Path) -> int:
    """Bytes of a file."""
    return path.stat().st_size
