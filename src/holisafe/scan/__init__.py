"""Verdicts over many images: streaming, resumable, sharded, and safe against any single bad image.

`scan` gives one row per image; `PartsFolder` keeps rows in Parquet parts and resumes; `Scanner` is the picklable
form, rows in and rows out, for frameworks that distribute work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy
from holisafe.scan.parts import PartsFolder
from holisafe.scan.rows import ScanRow

if TYPE_CHECKING:
    from holisafe.scan.scanner import Scanner
    from holisafe.scan.stream import scan

__all__ = ["PartsFolder", "ScanRow", "Scanner", "scan"]

__getattr__, __dir__ = lazy(__name__, {"scan": "holisafe.scan.stream", "Scanner": "holisafe.scan.scanner"})
