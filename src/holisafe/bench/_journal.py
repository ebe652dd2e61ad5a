"""Answers as they come: one line each, on the disk before the next one counts.

A run that is killed loses at most the answers that were being generated. The journal holds answers only, never
errors, so that a run started again tries those once more.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import TracebackType

from holisafe.errors import RunError
from holisafe.records import Response
from holisafe.records.as_json import response_from_json, response_to_json


class Journal:
    """The file `responses.jsonl` of a run folder, read on opening and appended to; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Read the answers that are there; a last line cut short by a crash is dropped.

        Raises:
            RunError: A line before the last is damaged, or the file cannot be read or written.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            self._responses = _read(path)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from error

    def __enter__(self) -> Journal:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Number of answers."""
        return len(self._responses)

    def get(self, sample_id: str) -> Response | None:
        """The answer to a sample, if it is there."""
        return self._responses.get(sample_id)

    def append(self, response: Response) -> None:
        """Write an answer to the disk.

        Raises:
            RunError: The disk is full or cannot be written.
        """
        line = json.dumps(response_to_json(response), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            start = self._file.seek(0, os.SEEK_END)
            try:
                written = self._file.write(line)
                if written != len(line):
                    raise OSError(28, "No space left on device")
                os.fsync(self._file.fileno())
            except OSError as error:
                self._file.truncate(start)
                raise _unwritable(self.path, error) from error
            self._responses[response.sample_id] = response


def _read(path: Path) -> dict[str, Response]:
    """The answers in `path`; what follows the last whole line is cut off."""
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    responses = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            response = response_from_json(json.loads(line))
        except (ValueError, RunError) as error:
            raise RunError(f"{path}, line {number}: damaged ({error}); remove that line and start again") from error
        responses[response.sample_id] = response
    return responses


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}; make room or permission there and start the same command "
        "again: the answers so far are kept"
    )
