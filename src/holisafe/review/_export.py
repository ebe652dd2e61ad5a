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
        changed: When it was last changed, in ISO 8601; empty where the export has none.
    """

    id: str
    who: str
    choice: str | None
    reason: str = ""
    date: str = ""
    changed: str = ""


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

    An annotation that several exports hold (of two days, or of the adjudicator's project) counts once, as it was last
    changed.

    Args:
        paths: The files.
        keys: Keys of the tasks that were given out.
        form: What people were asked.

    Raises:
        DataError: A file is no such export, none of its tasks was given out, or no file holds a task.
    """
    found: dict[str, list[Annotation]] = {key: [] for key in keys}
    strange: list[str] = []
    count = 0
    for path in paths:
        tasks = _tasks(read_json(path, DataError), path)
        count += len(tasks)
        unknown = [number for number, task in enumerate(tasks, start=1) if _key(task) not in found]
        if tasks and len(unknown) == len(tasks):
            raise DataError(f"{path}: none of its {len(tasks)} tasks was given out here; another project's export?")
        strange += [f"unknown task: {path}: record {number}: it was not given out here" for number in unknown]
        for task in tasks:
            own = found.get(_key(task))
            if own is not None:
                _add(own, _annotations(task, form))
    if not count:
        raise DataError(f"{', '.join(map(str, paths))}: no task in there; export the project with its annotations")
    return Exports({key: tuple(annotations) for key, annotations in found.items()}, tuple(strange))


def _tasks(found: Any, path: Path) -> list[Mapping[str, Any]]:
    if not isinstance(found, list):
        raise DataError(f"{path}: expected Label Studio's JSON export, a list of tasks; not JSON-MIN or CSV")
    for number, task in enumerate(found, start=1):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise DataError(f"{path}: record {number}, field data: expected an object; export as JSON, not JSON-MIN")
        said = task.get("annotations", [])
        if not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
            raise DataError(f"{path}: record {number}, field annotations: expected a list of objects; export it again")
    return found


def _add(own: list[Annotation], others: Iterator[Annotation]) -> None:
    for each in others:
        same = [at for at, one in enumerate(own) if each.id and (one.id, one.who) == (each.id, each.who)]
        if not same:
            own.append(each)
        elif each.changed >= own[same[0]].changed:
            own[same[0]] = each


def _key(task: Mapping[str, Any]) -> str:
    return str(task["data"].get("key"))


def _annotations(task: Mapping[str, Any], form: Form) -> Iterator[Annotation]:
    for each in task.get("annotations", []):
        if not each.get("was_cancelled"):
            chosen = [one if isinstance(one, str) else None for one in _values(each, form.name, "choices")]
            choice = chosen[0] if len(chosen) == 1 and chosen[0] in form.choices else None
            reason = " ".join(" ".join(map(str, _values(each, REASON, "text"))).split())[:300]
            name, made = each.get("id"), str(each.get("created_at") or "")
            changed = str(each.get("updated_at") or made)
            yield Annotation("" if name is None else str(name), _who(each), choice, reason, made[:10], changed)


def _who(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    who = who.get("email", who.get("id")) if isinstance(who, dict) else who
    return str(who) if isinstance(who, str | int) and not isinstance(who, bool) else ""


def _values(annotation: Mapping[str, Any], name: str, kind: str) -> list[Any]:
    """What the results of one control hold."""
    results = annotation.get("result")
    found = [each for each in results if isinstance(each, dict)] if isinstance(results, list) else []
    values = [each.get("value") for each in found if each.get("from_name") == name]
    lists = [value.get(kind) for value in values if isinstance(value, dict)]
    return [one for each in lists if isinstance(each, list) for one in each]
