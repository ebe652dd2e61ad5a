"""The versions of HoliSafe-Open, known without reading it."""

from __future__ import annotations

VERSION = 2
"""The version that the name "open" stands for."""

SPLITS: dict[int, tuple[str, ...]] = {
    1: ("train", "calibration", "test", "transfer"),
    2: ("train", "calibration", "test", "transfer", "photo"),
}
"""Splits of each version, in the order of the files' row groups."""

NAMES = ("open", *(f"open@{version}" for version in SPLITS))
"""Names under which HoliSafe-Open is registered. No artwork is in the training split of one version and in another
split of the other."""
