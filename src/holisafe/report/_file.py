"""The file of a report: whole or not at all."""

from __future__ import annotations

from pathlib import Path

from holisafe._files import write_atomically
from holisafe.errors import RunError


def put(out: str | Path, text: str | bytes) -> Path:
    """Write a file, text as UTF-8, so that a reader finds the old one or the whole new one.

    Raises:
        RunError: It cannot be written; what was there before is still there.
    """
    place = check_place(out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, text)
    except OSError as error:
        raise RunError(f"cannot write {place}: {error.strerror or error}; choose another place with --out") from error
    return place


def check_place(out: str | Path) -> Path:
    """The place of a file, as a path.

    Raises:
        RunError: A folder is there.
    """
    place = Path(out)
    if place.is_dir():
        raise RunError(f"{place} is a folder; give the report a file name with --out")
    return place
