"""When a hosted model is retired, as far as Inspect's bundled model data say.

Inspect has no function for it (0.3.285): the dates stand in comments of its data files, above the model or the version
that they are about. They are read from there; where the files are missing or written otherwise, nothing is known.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files

WARNED_DAYS = 60
"""Days before a retirement from which on it is warned of."""

_ENTRY = re.compile(r"^( *)([A-Za-z0-9][\w.:/-]*): *$")
_RETIRED = re.compile(r"\bretire[sd]?\b.*?\bon (\d{4}-\d{2}-\d{2})\b", re.IGNORECASE)
_MODEL, _VERSION = 4, 8
"""Spaces before the name of a model, and of a version of it."""


@dataclass(frozen=True, slots=True)
class Retirement:
    """A model that is gone, or will be soon.

    Attributes:
        model: Inspect's name of it.
        role: "model" for what is measured, "judge" for what judges ask.
        day: The day of its retirement.
    """

    model: str
    role: str
    day: date

    def words(self, today: date) -> str:
        """One sentence on it."""
        what = "the model that judges ask" if self.role == "judge" else "the measured model"
        when = f"was retired on {self.day}" if self.day <= today else f"will be retired on {self.day}"
        return f"{self.model}, {what}, {when}, by Inspect's model data: figures can then not be measured again"

    def to_json(self) -> dict[str, str]:
        """`{model, role, day}`."""
        return {"model": self.model, "role": self.role, "day": self.day.isoformat()}


def retirements(model: str | None, judge_model: str | None, today: date) -> list[Retirement]:
    """Retirements to warn of: in the past, or within 60 days.

    Args:
        model: Inspect's name of the measured model; None where none is asked.
        judge_model: The same of the model that judges ask.
        today: The day of the run.
    """
    asked = (("model", model), ("judge", judge_model))
    known = ((role, name, _days().get(name.lower())) for role, name in asked if name is not None)
    return [
        Retirement(name, role, day)
        for role, name, day in known
        if day is not None and (day - today).days <= WARNED_DAYS
    ]


def read_days(text: str) -> dict[str, date]:
    """The days of retirement in one file of Inspect's model data.

    Args:
        text: The file: YAML whose comments above an entry are about it. What stands above a model holds for its
            versions too. A comment may name further models before the word "retired".

    Returns:
        "organisation/name", in lower case → day.
    """
    found: dict[str, date] = {}
    further: dict[str, date] = {}
    names: list[str] = []
    organisation, of_model = "", None
    for indent, name, comment in _entries(text):
        if indent == 0:
            organisation = name
        elif name == "latest":
            continue
        elif indent in (_MODEL, _VERSION):
            day = _day(comment)
            of_model = day if indent == _MODEL else of_model
            names.append(name)
            if (known := day or of_model) is not None:
                found[f"{organisation}/{name}".lower()] = known
            if day is not None:
                said = re.split(r"\bretire[sd]?\b", comment, maxsplit=1, flags=re.IGNORECASE)[0]
                further |= dict.fromkeys(re.findall(r"[\w.:/-]*\w", said), day)
    return {f"{organisation}/{name}".lower(): further[name] for name in names if name in further} | found


@cache
def _days() -> Mapping[str, date]:
    days: dict[str, date] = {}
    with contextlib.suppress(ImportError, OSError, UnicodeDecodeError):
        for file in files("inspect_ai.model._model_data").iterdir():
            if file.name.endswith(".yml"):
                days |= read_days(file.read_text(encoding="utf-8"))
    return days


def _entries(text: str) -> Iterator[tuple[int, str, str]]:
    """Indent and name of each entry that holds others, with the comment right above it in one line."""
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.lstrip("# "))
            continue
        if found := _ENTRY.match(line):
            yield len(found[1]), found[2], " ".join(comment)
        comment = []


def _day(comment: str) -> date | None:
    said = _RETIRED.search(comment)
    try:
        return date.fromisoformat(said[1]) if said else None
    except ValueError:
        return None
