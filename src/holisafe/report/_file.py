"""One file, put in place whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from holisafe.errors import RunError


def put(out: Path, text: str) -> Path:
    """Write a file of UTF-8 text, so that a reader finds the old one or the whole new one.

    Raises:
        RunError: It cannot be written; what was there before is still there.
    """
    if out.is_dir():
        raise RunError(f"{out} is a folder; give the report a file name with --out")
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}; choose another place with --out") from error
    return out
