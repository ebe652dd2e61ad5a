"""HoliSafe-Open: an open five-combination image-text set, rendered from openly licensed art and shipped here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from holisafe.datasets.open._kinds import Kind, load_kinds
from holisafe.datasets.open._load import load_open, open_images

if TYPE_CHECKING:
    from holisafe.datasets.open._sizes import Sizes

__all__ = ["Kind", "build_more", "build_open", "load_kinds", "load_open", "open_images"]


def build_open(art_dir: Path, out: Path | None = None, *, check: bool = False) -> Path:
    """Draw HoliSafe-Open from local art collections and write it; see `_build.build_open`."""
    from holisafe.datasets.open import _build

    return _build.build_open(art_dir, out, check=check)


def build_more(
    art_dir: Path,
    out: Path,
    *,
    sizes: Sizes | None = None,
    scale: float = 1,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a larger set for training alone from local art collections and write it; see `_more.build_more`."""
    from holisafe.datasets.open import _more

    return _more.build_more(art_dir, out, sizes=sizes or _more.SIZES, scale=scale, jobs=jobs, progress=progress)
