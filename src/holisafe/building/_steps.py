"""Steps as files: one line of JSON for each thing that was done, found again by a key of everything it depends on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from holisafe._enums import parse_enum
from holisafe.bench import Lines
from holisafe.building._row_values import check_values
from holisafe.errors import RunError, UnknownNameError

FOLDER = "steps"
"""Folder of the steps' files, below that of the data."""


class Status(StrEnum):
    """What became of one thing in a step."""

    OK = "ok"
    REJECTED = "rejected"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing in one step.

    Attributes:
        key: What it is found by; another content, prompt or model gives another key.
        status: "ok", "rejected" (stands), or "error" (a model could not be reached; tried again by the next run).
        reason: Why it is not ok, as "kind: detail"; empty where it is.
        values: What the step has found.
    """

    key: str
    status: Status = Status.OK
    reason: str = ""
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_ok(self) -> bool:
        """Whether it goes on to the next step."""
        return self.status is Status.OK

    def to_json(self) -> dict[str, Any]:
        """One object; the step's values stand beside key, status and reason."""
        reason = {"reason": self.reason} if self.reason else {}
        return {"key": self.key, "status": self.status.value, **reason, **self.values}

    @staticmethod
    def from_json(data: Any) -> Row:
        """Read what `to_json` wrote.

        Raises:
            RunError: It is not such an object.
        """
        if not isinstance(data, dict) or not isinstance(data.get("key"), str):
            raise RunError("not a row of a step: expected an object with key and status")
        try:
            status = parse_enum(Status, str(data.get("status")))
        except UnknownNameError as error:
            raise RunError(f"not a row of a step: {error}") from None
        values = {name: value for name, value in data.items() if name not in ("key", "status", "reason")}
        return Row(data["key"], status, str(data.get("reason", "")), values)


class StepFile(Lines[str, Row]):
    """The file of one step."""

    def __init__(self, data: Path, name: str) -> None:
        """Read the rows that are there.

        Raises:
            RunError: A line is damaged, or the file cannot be written.
        """
        (data / FOLDER).mkdir(parents=True, exist_ok=True)

        def read(data: Any) -> Row:
            row = Row.from_json(data)
            if row.is_ok:
                check_values(name, row.values)
            return row

        super().__init__(data / FOLDER / f"{name}.jsonl", lambda row: row.key, read, Row.to_json)
        self.name = name

    def __enter__(self) -> StepFile:
        """Return itself."""
        return self

    def get(self, key: str) -> Row | None:
        """The row of a key; None where there is none, or an error that is to be tried again."""
        found = self._records.get(key)
        return None if found is None or found.status is Status.ERROR else found

    def latest(self, key: str) -> Row | None:
        """The row of a key, errors included."""
        return self._records.get(key)

    def whole(self, keys: Iterable[str], make: Callable[[], Iterable[Row]]) -> list[Row]:
        """The rows of a step that is made from all of its input at once; made where one is missing."""
        keys = list(keys)
        if any(self.get(key) is None for key in keys):
            for row in make():
                if self.get(row.key) is None:
                    self.append(row)
        return [self._records[key] for key in keys]


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What went into a step and what came out.

    Attributes:
        step: Its name.
        given: Things that went in.
        kept: Things that came out.
        reasons: Kind of reason → things that did not.
        unit: What is counted.
    """

    step: str
    given: int
    kept: int
    reasons: Mapping[str, int]
    unit: str

    def to_json(self) -> dict[str, Any]:
        """JSON values, by attribute."""
        return {name: getattr(self, name) for name in self.__slots__}


def counted(step: str, unit: str, rows: Iterable[Row]) -> StepCounts:
    """The counts of a step that has one row for each thing."""
    rows = list(rows)
    return counts_of(step, unit, [row.reason if not row.is_ok else "" for row in rows])


def counts_of(step: str, unit: str, reasons: Iterable[str]) -> StepCounts:
    """The counts of a step, from one reason for each thing; empty where it was kept."""
    reasons = list(reasons)
    kinds = Counter(reason.partition(":")[0] for reason in reasons if reason)
    kept = sum(not reason for reason in reasons)
    return StepCounts(step, len(reasons), kept, dict(sorted(kinds.items())), unit)


def key_of(*parts: Any) -> str:
    """SHA-256, in hex, of JSON values."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, sort_keys=True).encode()).hexdigest()
