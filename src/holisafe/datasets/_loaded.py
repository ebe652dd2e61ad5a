"""What reading gives: the good samples, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from holisafe._printable import printable
from holisafe.records import Response, Sample


class Level(StrEnum):
    """How bad a problem is: a broken record is left out, a note is for information and leaves it in."""

    BROKEN = "broken"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one record.

    Attributes:
        file: The file that holds the record, or the name of the data set.
        index: Position of the record, from 0; None when it is the file as a whole.
        id: The record's id as found; None when it has none.
        field: The field that is wrong.
        found: What is there.
        expected: What should be there.
        remedy: What to do about it.
        level: Whether the record was left out.
    """

    file: str
    index: int | None
    id: str | None
    field: str
    found: str
    expected: str
    remedy: str
    level: Level = Level.BROKEN

    def __str__(self) -> str:
        """The problem in one line."""
        record = "" if self.index is None else f" record {self.index}"
        named = "" if self.id is None else f" (id {_short(self.id)})"
        where = f"{self.file}{record}{named}: {_short(self.field)}"
        found = f"{where}: found {_short(self.found)}, expected {self.expected}; {_short(self.remedy)}"
        return printable(found).replace("\n", "\\n")

    def to_json(self) -> dict[str, str | int | None]:
        """All fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read.

    Attributes:
        samples: The good records, in the order of the file.
        problems: What is wrong, in the order of the file.
        responses: For a file of predictions, one response per sample in the same order; else empty.
        origin: For answers that another tool logged: the tool, and what it says of the model and its settings.
    """

    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    responses: tuple[Response, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def broken(self) -> tuple[Problem, ...]:
        """The problems that cost a record."""
        return tuple(problem for problem in self.problems if problem.level is Level.BROKEN)

    @property
    def broken_records(self) -> int:
        """How many records were left out; one may have several problems."""
        return len({(problem.file, problem.index, problem.id) for problem in self.broken})

    @property
    def notes(self) -> tuple[Problem, ...]:
        """The problems that cost nothing."""
        return tuple(problem for problem in self.problems if problem.level is Level.NOTE)


def _short(text: str, most: int = 600) -> str:
    """A text as a message shows it: names of images may be of any length."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"
