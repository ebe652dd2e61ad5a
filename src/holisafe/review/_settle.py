"""What follows from the annotations of a task: one value, or the reason for which there is none yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import read_json
from holisafe.errors import DataError
from holisafe.review._export import Annotation, Exports
from holisafe.review._project import TASKS, Form, write_json

ADJUDICATOR = "adjudicator"
"""Role of who decides."""

ADJUDICATE = "adjudicate.json"
"""File of the tasks that are left to settle, as Label Studio imports them."""

_LEAST = 2


@dataclass(frozen=True, slots=True)
class Settled:
    """What people say of one task.

    Attributes:
        value: The choice that stands; None where there is none.
        reason: Why there is none, as "kind: detail"; empty where there is one.
        how: "agreed" or "adjudicated"; empty where nothing stands.
        votes: Choice by role ("annotator-1", ..., "adjudicator").
        dates: Days of the annotations, in order.
        reasons: What people wrote.
    """

    value: str | None
    reason: str
    how: str
    votes: Mapping[str, str | None]
    dates: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether annotators differ and nobody has settled it."""
        return self.reason.startswith("adjudicate:")

    @property
    def said(self) -> dict[str, Any]:
        """What a record keeps of it: who by role, when, why; no names."""
        return {
            "roles": ", ".join(sorted(self.votes)),
            "dates": ", ".join(self.dates),
            "reasons": " | ".join(self.reasons),
            "votes": dict(self.votes),
        }


def roles_of(exports: Exports, adjudicator: str | None) -> dict[str, str]:
    """Role of each person, by number in the order of their names.

    Raises:
        DataError: The adjudicator has annotated nothing.
    """
    names = sorted({each.who for annotations in exports.by_task.values() for each in annotations if each.who})
    if adjudicator is not None and names and adjudicator not in names:
        raise DataError(f"adjudicator {adjudicator!r} has annotated nothing; annotators are {', '.join(names)}")
    annotators = [name for name in names if name != adjudicator]
    roles = {name: f"annotator-{number}" for number, name in enumerate(annotators, start=1)}
    return roles if adjudicator is None else {**roles, adjudicator: ADJUDICATOR}


def settle(annotations: Sequence[Annotation], roles: Mapping[str, str], form: Form) -> Settled:
    """The choice of two or more people who agree, else the adjudicator's.

    Args:
        annotations: Those of one task.
        roles: Role by person.
        form: What people were asked.
    """
    votes = {roles[each.who]: each.choice for each in annotations if each.who}
    dates = tuple(dict.fromkeys(sorted(each.date for each in annotations if each.date)))
    reasons = tuple(each.reason for each in annotations if each.reason)

    def left(reason: str) -> Settled:
        return Settled(None, reason, "", votes, dates, reasons)

    if any(not each.who for each in annotations):
        return left("unreadable: an annotation without completed_by; nobody can tell whose it is")
    if len(votes) < len(annotations):
        return left("double annotation: one person has two annotations of this task; delete one")
    if None in votes.values():
        return left(f"unreadable: an annotation without exactly one choice of {', '.join(form.choices)}")
    own = {role: choice for role, choice in votes.items() if role != ADJUDICATOR}
    if len(own) < _LEAST:
        return left(f"missing: annotations by {len(own)} people; {_LEAST} or more are needed")
    decided = votes.get(ADJUDICATOR) or (next(iter(own.values())) if len(set(own.values())) == 1 else None)
    if decided is None:
        return left(f"adjudicate: {', '.join(f'{role} {choice}' for role, choice in sorted(own.items()))}")
    return Settled(decided, "", "adjudicated" if len(set(own.values())) > 1 else "agreed", votes, dates, reasons)


def adjudication_list(folder: Path, settled: Mapping[str, Settled]) -> Path:
    """Write the tasks that annotators see differently, those with most different choices first.

    Args:
        folder: Folder of the project.
        settled: What follows, by key of the task.

    Returns:
        The file, for an adjudicator to import into a project of their own.

    Raises:
        DataError: The project's tasks cannot be read.
    """
    if not (folder / TASKS).is_file():
        raise DataError(f"{folder / TASKS}: no such file; run holisafe review export first")
    tasks = read_json(folder / TASKS, DataError)
    if not isinstance(tasks, list) or not all(_is_task(each) for each in tasks):
        raise DataError(f"{folder / TASKS}: not what holisafe review export writes; run it again")
    kinds = {key: len(set(one.votes.values())) for key, one in settled.items() if one.is_open}
    left = [task for task in tasks if task["data"]["key"] in kinds]
    write_json(folder / ADJUDICATE, sorted(left, key=lambda task: -kinds[task["data"]["key"]]))
    return folder / ADJUDICATE


def _is_task(found: Any) -> bool:
    data = found.get("data") if isinstance(found, dict) else None
    return isinstance(data, dict) and isinstance(data.get("key"), str)
