"""A scan in this process, into a folder of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from holisafe.scan.careful import carefully
from holisafe.scan.parts import PartsFolder
from holisafe.scan.scanner import Scanner
from holisafe.scan.units import Unit, chunks, rows_of_unit

NOTE = "_current.json"
"""Names the images that are being scanned."""


def scan_here(
    units: Iterable[Unit], scanner: Scanner, out: PartsFolder, is_ending: Callable[[], object] = lambda: False
) -> Iterator[dict[str, Any]]:
    """Scan what a folder of parts does not hold yet. Lazy: images are read while you iterate.

    Args:
        units: What to scan.
        scanner: What scans it.
        out: Where rows are kept; open.
        is_ending: Asked after each chunk; once true, the scan ends there.

    Yields:
        Each row once it is kept.
    """
    rows = chain.from_iterable(rows_of_unit(unit, out.is_done, scanner.limits) for unit in units)
    for chunk in chunks(rows):
        for row in carefully(chunk, scanner, out.folder / NOTE):
            out.add_row(row)
            yield row
        if is_ending():
            return
