"""A run's folder, which one process holds at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from holisafe.errors import HoliSafeError


@contextlib.contextmanager
def hold(folder: Path, error: type[HoliSafeError], *, alone: bool = True) -> Iterator[None]:
    """Make the folder and hold it alone while a run goes on; the lock ends with the process.

    Args:
        folder: The run's folder.
        error: What is raised.
        alone: Whether to take the lock; of several processes of one run, one does.

    Raises:
        HoliSafeError: Of the given kind: it cannot be written, or another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as why:
        raise error(f"cannot write to {folder}: {why.strerror or why}; choose another --out") from why
    with lock:
        try:
            if alone:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            raise error(f"another run is going on in {folder}; wait for it, or choose another --out") from why
        yield
