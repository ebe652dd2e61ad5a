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
    place = make_place(out)
    try:
        write_atomically(place, text)
    except OSError as error:
        raise cannot_write(place, error) from error
    return place


def make_place(out: str | Path) -> Path:
    """The place of a file, as a path; its folder is made if missing.

    Raises:
        RunError: A folder is there, or its own cannot be made.
    """
    place = Path(out)
    if place.is_dir():
        raise RunError(f"{place} is a folder; give the report a file name with --out")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(place, error) from error
    return place


def cannot_write(place: Path, error: OSError) -> RunError:
    """The error of a file that cannot be written."""
    return RunError(f"cannot write {place}: {error.strerror or error}; choose another place with --out")
