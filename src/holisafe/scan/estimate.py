"""What a scan will take, from a list of its files and a few of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any

from holisafe.scan.scanner import Scanner
from holisafe.scan.units import FileUnit, Unit, Units, chunks, rows_of_unit

SAMPLED_UNITS = 3
"""Units that are read from: the first, the one in the middle, the last."""

SAMPLED = 48
"""Images of each."""


@dataclass(frozen=True)
class Estimate:
    """What a scan will take.

    Attributes:
        units: Files, and groups of single images.
        bytes: Their size; 0 where it is not known.
        images: Images, about; None where they cannot be told.
        is_counted: Whether the images were counted, not estimated from sizes.
        images_per_s: Images that one worker scans in a second, reading included.
        sampled: Images that this was measured on.
        workers: Workers.
        price: Money for an hour of one worker; None where not given.
    """

    units: int
    bytes: int
    images: int | None
    is_counted: bool
    images_per_s: float | None
    sampled: int
    workers: int
    price: float | None = None

    @property
    def seconds(self) -> float | None:
        """Time for all images, where workers do not hinder each other."""
        if self.images is None or not self.images_per_s:
            return None
        return self.images / self.images_per_s / self.workers

    @property
    def money(self) -> float | None:
        """What that costs."""
        return None if self.price is None or self.seconds is None else self.price * self.workers * self.seconds / 3600

    def to_json(self) -> dict[str, Any]:
        """JSON values: the fields, seconds and money."""
        return {
            "units": self.units,
            "bytes": self.bytes,
            "images": self.images,
            "is_counted": self.is_counted,
            "images_per_s": self.images_per_s,
            "sampled": self.sampled,
            "workers": self.workers,
            "seconds": self.seconds,
            "price_per_hour": self.price,
            "money": self.money,
        }


def estimate(units: Units, scanner: Scanner, workers: int = 1, price: float | None = None) -> Estimate:
    """List a source and scan a few of its images; nothing is written.

    Args:
        units: What would be scanned.
        scanner: What would scan it.
        workers: Workers that would share it.
        price: Money for an hour of one worker.
    """
    found = list(units)
    places = sorted({0, len(found) // 2, len(found) - 1}) if found else []
    read, size = 0, 0
    rows: list[dict[str, Any]] = []
    for place in places[:SAMPLED_UNITS]:
        taken = list(islice(rows_of_unit(found[place]), SAMPLED))
        read += sum(1 for row in taken if row["bytes"])
        size += sum(len(row["bytes"]) for row in taken if row["bytes"])
        rows += taken
    loose = sum(len(unit.files) for unit in found if isinstance(unit, FileUnit) and _is_loose(unit))
    many = [unit for unit in found if not _is_loose(unit)]
    images = _count(loose, many, read, size)
    return Estimate(
        len(found),
        sum(unit.size for unit in found),
        images,
        not many,
        _speed(rows, scanner),
        read,
        workers,
        price,
    )


def _count(loose: int, many: Sequence[Unit], read: int, size: int) -> int | None:
    if not many:
        return loose
    total = sum(unit.size for unit in many)
    return loose + round(total * read / size) if total and size else None


def _speed(rows: Sequence[dict[str, Any]], scanner: Scanner) -> float | None:
    """Images per second, after one chunk that warms up."""
    if not rows:
        return None
    scanner(rows[:1])
    start, count = perf_counter(), 0
    for chunk in chunks(rows):
        count += sum(1 for row in scanner(chunk) if "error" not in row)
    return round(count / (perf_counter() - start), 2) if count else None


def _is_loose(unit: Unit) -> bool:
    return isinstance(unit, FileUnit) and all(file.kind == "image" for file in unit.files)
