"""Verdicts over many images: streaming, resumable, sharded, and safe against any single bad image.

`scan` gives one row per image; `PartsFolder` keeps rows in Parquet parts and resumes; `Scanner` is the picklable
form, rows in and rows out, for frameworks that distribute work. `scan_here` and `scan_on_ray` scan the `Units` of some
places into a folder, `rescan` judges kept features by another guard, `summarise_scan` counts what a folder holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.scan.parts import PartsFolder
from holisafe.scan.rows import ScanRow
from holisafe.scan.scanner import DRAWINGS_ONLY, Scanner

if TYPE_CHECKING:
    from holisafe.scan.local import scan_here
    from holisafe.scan.stream import scan
    from holisafe.scan.units import Units

__all__ = ["DRAWINGS_ONLY", "PartsFolder", "ScanRow", "Scanner", "Units", "scan", "scan_here"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "scan": "holisafe.scan.stream",
        "scan_here": "holisafe.scan.local",
        "Units": "holisafe.scan.units",
    },
)
