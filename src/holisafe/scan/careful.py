"""Images that end the process that reads them: found, left out, and reported, instead of ending every attempt.

Before rows are scanned, their ids are noted in a file, which is removed afterwards. What is found there at the next
attempt was being scanned when a process died: each of these rows is then scanned alone. One that three processes died
of alone becomes a row with an error; a machine that is switched off hardly meets one image three times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from holisafe._files import read_json
from holisafe.errors import HoliSafeError, RunError

DEATHS = 3
"""Times that a process may die while it scans an image alone, until the image is left out."""

Rows = Sequence[Mapping[str, Any]]


def carefully(rows: Rows, scan: Callable[[Rows], list[dict[str, Any]]], note: Path) -> Iterator[dict[str, Any]]:
    """Scan rows so that none of them can end each attempt.

    Args:
        rows: What `scan` takes.
        scan: Gives one row for each, in their order.
        note: File of this attempt; the same for the same rows, or for all rows of one process at a time.
    """
    died = _read(note)
    for group in _groups(rows, died):
        ids = [str(row["id"]) for row in group]
        if died.get(ids[0], 0) >= DEATHS:
            group = [{"id": ids[0], "key": group[0].get("key"), "error": _REASON}]
        else:
            _write(note, died | ({ids[0]: died.get(ids[0], 0) + 1} if ids[0] in died else dict.fromkeys(ids, 0)))
        yield from scan(group)
        died = {id: count for id, count in died.items() if id not in ids}
    if died:  # rows of a later call
        _write(note, died)
    else:
        note.unlink(missing_ok=True)


_REASON = (
    f"not scanned: the process ended {DEATHS} times while it was reading this image (out of memory, or damaged so "
    "that a decoder aborts)"
)


def _groups(rows: Rows, died: Mapping[str, int]) -> Iterator[list[Mapping[str, Any]]]:
    """What was being scanned when a process died stands alone; the others stay together."""
    together: list[Mapping[str, Any]] = []
    for row in rows:
        if str(row["id"]) in died:
            if together:
                yield together
            together = []
            yield [row]
        else:
            together.append(row)
    if together:
        yield together


def _read(note: Path) -> dict[str, int]:
    if not note.exists():
        return {}
    try:
        found = read_json(note, RunError, follow_links=False)
    except HoliSafeError:
        return {}  # cut off while it was written
    return {id: count for id, count in found.items() if isinstance(count, int)} if isinstance(found, dict) else {}


def _write(note: Path, deaths: Mapping[str, int]) -> None:
    """Survives the death of the process, not of the machine: no image is to blame for that."""
    part = note.with_name(f".{note.name}.part")
    with suppress(FileNotFoundError):
        part.unlink()
    part.write_text(json.dumps(deaths), encoding="utf-8")
    part.replace(note)
