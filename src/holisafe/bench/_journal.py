"""Answers and judgements as they come: one line of JSON each, on the disk before the next one counts.

A run that is killed loses at most what was being made. Errors are written too, so that the journal alone tells what
became of every sample, but a run that is started again tries those once more: the last line on a sample counts.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from holisafe._files import MAX_JSON_BYTES, open_unlinked, parse_json, read_bounded
from holisafe.bench._text import encodable_values
from holisafe.errors import RunError
from holisafe.records import GuardModelVerdict, JudgeId, Judgement, Outcome, Response
from holisafe.records.as_json import (
    guard_verdict_from_json,
    judgement_from_json,
    judgement_to_json,
    response_from_json,
    response_to_json,
)

RESPONSES = "responses.jsonl"
JUDGEMENTS = "judgements.jsonl"
GUARD_VERDICTS = "guard_verdicts.jsonl"

LARGEST = 2**34
"""Bytes of a journal that are read."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lines(Generic[K, V]):
    """A file of records, read on opening and appended to; use it as a context manager."""

    def __init__(self, path: Path, key: Callable[[V], K], read: Callable[[Any], V], write: Callable[[V], Any]) -> None:
        self.path = path
        self._key, self._write = key, write
        self._lock = threading.Lock()
        try:
            self._file = open_unlinked(path, "ab")
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            self._records = {key(record): record for record in recorded_lines(path, read)}
            whole = _whole_lines(path)
            if whole != os.fstat(self._file.fileno()).st_size:  # a finished run is not touched
                self._file.truncate(whole)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Lines[K, V]:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Number of records."""
        return len(self._records)

    def records(self) -> list[V]:
        """The records, in the order of their first appearance."""
        return list(self._records.values())

    def append(self, record: V) -> None:
        """Write a record to the disk.

        Raises:
            RunError: The disk is full or cannot be written.
        """
        line = json.dumps(encodable_values(self._write(record)), ensure_ascii=False).encode() + b"\n"
        with self._lock:
            descriptor = self._file.fileno()
            start = os.fstat(descriptor).st_size
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, "No space left on device")
                self._sync(descriptor)
            except OSError as error:
                os.ftruncate(descriptor, start)
                raise _unwritable(self.path, error) from error
            self._records[self._key(record)] = record

    def _sync(self, descriptor: int) -> None:
        os.fsync(descriptor)


class Journal(Lines[str, Response]):
    """The file `responses.jsonl` of a run folder."""

    def __init__(self, path: Path) -> None:
        """Read the answers that are there; a last line cut short by a crash is dropped.

        Raises:
            RunError: A line is damaged, or the file is a link or cannot be read or written.
        """
        super().__init__(path, lambda response: response.sample_id, response_from_json, response_to_json)

    def __enter__(self) -> Journal:
        """Return itself."""
        return self

    def __len__(self) -> int:
        """Number of answers; errors are none."""
        return sum(response.error is None for response in self._records.values())

    def get(self, sample_id: str) -> Response | None:
        """The answer to a sample, if it is there and is no error."""
        found = self._records.get(sample_id)
        return found if found is not None and found.error is None else None


class Judgements(Lines[tuple[str, JudgeId], Judgement]):
    """The file `judgements.jsonl` of a run folder."""

    def __init__(self, path: Path) -> None:
        """Read the judgements that are there.

        Raises:
            RunError: As `Journal`.
        """
        super().__init__(path, lambda each: (each.sample_id, each.judge), judgement_from_json, judgement_to_json)

    def __enter__(self) -> Judgements:
        """Return itself."""
        return self

    def get(self, response: Response, judge: JudgeId) -> Judgement | None:
        """The judgement of a judge of this very identity; one on a failure does not stand for an answer."""
        found = self._records.get((response.sample_id, judge))
        return found if found is not None and stands(found, response) else None

    def last(self, response: Response, judge: JudgeId) -> Judgement | None:
        """What that judge last said, even if it was a failure."""
        return self._records.get((response.sample_id, judge))


def stands(judgement: Judgement, response: Response) -> bool:
    """Whether a recorded judgement need not be made again: one on a failure does not stand for an answer."""
    return (judgement.outcome is Outcome.ERROR) == (response.error is not None)


class GuardVerdicts(Lines[tuple[str, JudgeId], GuardModelVerdict]):
    """The file `guard_verdicts.jsonl` of a run folder."""

    def __init__(self, path: Path) -> None:
        """Read the verdicts that are there.

        Raises:
            RunError: As `Journal`.
        """
        super().__init__(
            path, lambda each: (each.sample_id, each.guard), guard_verdict_from_json, GuardModelVerdict.to_json
        )

    def __enter__(self) -> GuardVerdicts:
        """Return itself."""
        return self

    def get(self, sample_id: str, guard: JudgeId) -> GuardModelVerdict | None:
        """The verdict of a guard of this very identity, if it is there and is no error."""
        found = self._records.get((sample_id, guard))
        return found if found is not None and found.error is None else None


def recorded_guard_verdicts(path: Path) -> dict[tuple[str, JudgeId], GuardModelVerdict]:
    """The guard models' verdicts of a journal by sample and guard; empty where there is no journal.

    Raises:
        RunError: A line is damaged.
    """
    return {(each.sample_id, each.guard): each for each in recorded_lines(path, guard_verdict_from_json)}


def recorded_responses(path: Path) -> dict[str, Response]:
    """What a journal holds of each sample, errors included; empty where there is no journal.

    Raises:
        RunError: A line is damaged.
    """
    return {response.sample_id: response for response in recorded_lines(path, response_from_json)}


def recorded_judgements(path: Path) -> dict[tuple[str, JudgeId], Judgement]:
    """The judgements of a journal by sample and judge; empty where there is no journal.

    Raises:
        RunError: A line is damaged.
    """
    return {(each.sample_id, each.judge): each for each in recorded_lines(path, judgement_from_json)}


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each whole line of a file with its number; none where there is no file.

    Raises:
        RunError: It cannot be read.
    """
    if not path.exists():
        return
    content = read_bounded(path, RunError, max_bytes=LARGEST, follow_links=False)
    yield from enumerate(content.split(b"\n")[:-1], start=1)


def recorded_lines(path: Path, read: Callable[[Any], V]) -> Iterator[V]:
    """Each record of a file; none where there is no file.

    Raises:
        RunError: A line is damaged.
    """
    for number, line in read_lines(path):
        try:
            yield read(parse_json(line, RunError, source=f"{path}:{number}", max_bytes=MAX_JSON_BYTES))
        except RunError as error:
            raise RunError(f"{path}, line {number}: damaged ({error}); remove that line and start again") from error


def _whole_lines(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    return sum(len(line) + 1 for _, line in read_lines(path))


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write {path}: {error.strerror or error}; make room or permission there and start the same command "
        "again: the answers so far are kept"
    )
