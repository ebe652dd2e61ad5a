"""The versions of HoliSafe-Open, known without reading it."""

from __future__ import annotations

VERSION = 1
"""The version that the name "open" stands for."""

SPLITS = {
    1: ("train", "calibration", "test", "transfer"),
    2: ("train", "calibration", "test", "transfer", "photo"),
}
"""Splits of each version, in the order of the files' row groups."""
