"""HoliSafe-Open: an open five-combination image-text set, rendered from openly licensed art and shipped here."""

from __future__ import annotations

from pathlib import Path

from holisafe.datasets.open._kinds import Kind, load_kinds
from holisafe.datasets.open._load import load_open, open_images

__all__ = ["Kind", "build_open", "load_kinds", "load_open", "open_images"]


def build_open(art_dir: Path, out: Path | None = None, *, check: bool = False) -> Path:
    """Draw HoliSafe-Open from local art collections and write it; see `_build.build_open`."""
    from holisafe.datasets.open import _build

    return _build.build_open(art_dir, out, check=check)
