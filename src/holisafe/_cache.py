"""Where what can be made again is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$HOLISAFE_CACHE`, else `$XDG_CACHE_HOME/holisafe`, else `~/.cache/holisafe`; it need not exist."""
    if folder := os.environ.get("HOLISAFE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "holisafe"
