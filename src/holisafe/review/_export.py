"""What people say of tasks, from Label Studio's JSON export (labelstud.io/guide/export)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holisafe._files import read_json
from holisafe.errors import DataError
from holisafe.review._project import REASON, Form


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one person says of one task.

    Attributes:
        id: Its id in Label Studio; empty where the export has none.
        who: Id or e-mail of the person; empty where the export has none.
        choice: The choice; None where there is not exactly one of the form's.
        reason: Why, in the person's words; empty where nothing is said.
        date: Day on which it was made (YYYY-MM-DD); empty where the export has none.
    """

    id: str
    who: str
    choice: str | None
    reason: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class Exports:
    """What is in one or more exports.

    Attributes:
        by_task: Key of each task that was given out → its annotations; skipped ones are left out.
        strange: Reasons for tasks that were never given out, as "unknown task: place".
    """

    by_task: Mapping[str, tuple[Annotation, ...]]
    strange: tuple[str, ...] = field(default=())


def read_exports(paths: Sequence[Path], keys: Sequence[str], form: Form) -> Exports:
    """Read the exports of a project.

    An annotation that several exports hold (of two days, or of the adjudicator's project) counts once.

    Args:
        paths: The files.
        keys: Keys of the tasks that were given out.
        form: What people were asked.

    Raises:
        DataError: A file is no such export, or none of its tasks was given out.
    """
    found: dict[str, list[Annotation]] = {key: [] for key in keys}
    strange: list[str] = []
    for path in paths:
        tasks = _tasks(read_json(path, DataError), path)
        unknown = [number for number, task in enumerate(tasks, start=1) if _key(task) not in found]
        if tasks and len(unknown) == len(tasks):
            raise DataError(f"{path}: none of its {len(tasks)} tasks was given out here; another project's export?")
        strange += [f"unknown task: {path}: record {number}: it was not given out here" for number in unknown]
        for task in tasks:
            own = found.get(_key(task))
            if own is not None:
                own += [each for each in _annotations(task, form) if not (each.id and each in own)]
    return Exports({key: tuple(annotations) for key, annotations in found.items()}, tuple(strange))


def _tasks(found: Any, path: Path) -> list[Mapping[str, Any]]:
    if not isinstance(found, list):
        raise DataError(f"{path}: expected Label Studio's JSON export, a list of tasks; not JSON-MIN or CSV")
    for number, task in enumerate(found, start=1):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise DataError(f"{path}: record {number}, field data: expected an object; export as JSON, not JSON-MIN")
    return found


def _key(task: Mapping[str, Any]) -> str:
    return str(task["data"].get("key"))


def _annotations(task: Mapping[str, Any], form: Form) -> Iterator[Annotation]:
    found = task.get("annotations")
    for each in found if isinstance(found, list) else []:
        if isinstance(each, dict) and not each.get("was_cancelled"):
            chosen = _values(each, form.name, "choices")
            choice = str(chosen[0]) if len(chosen) == 1 and chosen[0] in form.choices else None
            reason = " ".join(" ".join(map(str, _values(each, REASON, "text"))).split())[:300]
            name = each.get("id")
            yield Annotation(
                "" if name is None else str(name), _who(each), choice, reason, str(each.get("created_at") or "")[:10]
            )


def _who(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    who = who.get("email", who.get("id")) if isinstance(who, dict) else who
    return "" if who is None else str(who)


def _values(annotation: Mapping[str, Any], name: str, kind: str) -> list[Any]:
    """What the results of one control hold."""
    results = annotation.get("result")
    found = [each for each in results if isinstance(each, dict)] if isinstance(results, list) else []
    values = [each.get("value") for each in found if each.get("from_name") == name]
    lists = [value.get(kind) for value in values if isinstance(value, dict)]
    return [one for each in lists if isinstance(each, list) for one in each]
