"""Review by people in Label Studio: tasks and a labelling configuration out, the JSON export in.

Two people or more say which of the five combinations a sample is, without being told which it is meant to be; pictures
are blurred until the mouse button is held down. Nothing is sent anywhere: files are written and read.
Format: Label Studio's import of tasks and export "JSON" (labelstud.io/guide/export, labelstud.io/tags).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holisafe._files import hold, read_json, write_atomically
from holisafe.building._review_rows import REVIEW, review_key
from holisafe.building._steps import Row, Status, StepFile
from holisafe.datasets import read
from holisafe.errors import DataError, RunError
from holisafe.images import read_bytes
from holisafe.metrics import krippendorff_alpha
from holisafe.taxonomy import Combination

FOLDER = "review"
"""Folder of the review, below that of the data."""

UNUSABLE = "unusable"
"""What people say of a sample that is none of the five."""

ADJUDICATOR = "adjudicator"

MEANT = "meant.json"
"""What the samples are meant to be; not for those who annotate."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")

_CONFIGURATION = """<View className="holisafe">
  <Style>
    .holisafe img { filter: blur(24px); }
    .holisafe img:active { filter: none; }
  </Style>
  <Header value="Hold the mouse button down on the picture to see it. Do not name or identify anybody in it."/>
  <Image name="image" value="$image"/>
  <Header value="Request"/>
  <Text name="request" value="$request"/>
  <Header value="Answer"/>
  <Text name="answer" value="$text"/>
  <Choices name="combination" toName="image" choice="single" required="true">
    <Choice alias="SSS" value="Harmless picture, harmless words, harmless together; the answer helps"/>
    <Choice alias="SSU" value="Harmless picture, harmless words, but not together; the answer refuses"/>
    <Choice alias="USU" value="Unsafe picture, harmless words; the answer refuses"/>
    <Choice alias="UUU" value="Unsafe picture, harmful words; the answer refuses"/>
    <Choice alias="SUU" value="Harmless picture, harmful words; the answer refuses"/>
    <Choice alias="unusable" value="None of these: a wrong answer, a method in the request, or no sense"/>
  </Choices>
  <TextArea name="reason" toName="image" placeholder="Why (optional)" maxSubmissions="1"/>
</View>
"""


@dataclass(frozen=True, slots=True)
class Review:
    """What an import has found.

    Attributes:
        tasks: Samples that were given to review.
        kept: Those that people see as what they are meant to be.
        alpha: Krippendorff's alpha of the annotators over the combinations; None where it is not defined.
        annotators: Number of annotators, the adjudicator not among them.
        rows: One row per task.
        strange: Reasons for tasks of the export that were never given out.
    """

    tasks: int
    kept: int
    alpha: float | None
    annotators: int
    rows: tuple[Row, ...]
    strange: tuple[str, ...]

    @property
    def to_adjudicate(self) -> tuple[str, ...]:
        """Ids of samples that annotators see differently, and nobody has settled."""
        return tuple(row.values["id"] for row in self.rows if row.reason.startswith("adjudicate:"))

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/build.md)."""
        reasons = Counter(row.reason.partition(":")[0] for row in self.rows if not row.is_ok)
        return {
            **{name: getattr(self, name) for name in ("tasks", "kept", "alpha", "annotators")},
            "reasons": dict(sorted(reasons.items())),
            "to_adjudicate": list(self.to_adjudicate),
            "strange": list(self.strange),
        }


def export_review(data: Path, images: str = "/data/local-files/?d=") -> Path:
    """Write tasks, pictures and the labelling configuration to the folder `review` of built data.

    Samples against which more models have voted come first.

    Args:
        data: The built data.
        images: What stands before a picture's path in a task: the prefix of Label Studio's local files, or an address.

    Returns:
        The folder.

    Raises:
        DataError: The data cannot be read.
    """
    out = data / FOLDER
    samples = [sample for sample in read(data).samples if sample.combination is not None]
    against = _votes_against(data)
    tasks, meant = [], {}
    (out / "images").mkdir(parents=True, exist_ok=True)
    for sample in sorted(samples, key=lambda one: (-against.get(one.id, 0), one.id)):
        picture = sample.images[0]
        suffix = Path(picture.key).suffix.lower()  # by which a web server tells what a file is
        name = f"images/{picture.digest}{suffix if suffix in _SUFFIXES else ''}"
        if not (out / name).exists():
            write_atomically(out / name, read_bytes(picture))
        key = review_key(sample)
        meant[key] = {"id": sample.id, "combination": sample.combination}  # no column of Label Studio tells it
        told = {"key": key, "image": f"{images}{name}", "request": sample.query, "text": sample.reference or ""}
        tasks.append({"data": told})
    write_atomically(out / "tasks.json", json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    write_atomically(out / MEANT, json.dumps(meant, indent=1) + "\n")
    write_atomically(out / "configuration.xml", _CONFIGURATION)
    return out


def import_review(data: Path, export: Path, adjudicator: str | None = None) -> Review:
    """Read Label Studio's JSON export; every task that was given out becomes a row of the step "review".

    A sample with fewer than two annotations, two by one person, or two that differ without an adjudicator's, is not
    kept by the next `build`; a later import settles it. Who annotated is kept as a role and a number, not as a name.

    Args:
        data: The built data, of which `export_review` has written the tasks.
        export: The file.
        adjudicator: Who decides where annotators differ: the id or e-mail that the export has.

    Raises:
        DataError: A file cannot be read at all.
        RunError: The rows cannot be written.
    """
    known = _meant(data / FOLDER / MEANT)
    answers: dict[str, list[Mapping[str, Any]]] = {}
    strange = []
    for number, task in enumerate(_tasks(read_json(export, DataError), export), start=1):
        key = str(task["data"].get("key"))
        if key not in known:
            strange.append(f"unknown task: {export}: record {number}: not one that was given out")
            continue
        answers.setdefault(key, []).append(task)
    names = sorted({_who(each) for tasks in answers.values() for task in tasks for each in _annotations(task)})
    annotators = [name for name in names if name != adjudicator]
    roles = {name: f"annotator-{number}" for number, name in enumerate(annotators, start=1)}
    roles |= {} if adjudicator is None else {adjudicator: ADJUDICATOR}
    rows = [_row(key, told, answers.get(key, []), roles) for key, told in known.items()]
    verdicts = {name: [_said_by(answers.get(key, []), name) for key in known] for name in annotators}
    with hold(data, RunError), StepFile(data, REVIEW) as file:
        for row in rows:
            if file.latest(row.key) != row:
                file.append(row)
    kept = sum(row.is_ok for row in rows)
    alpha = krippendorff_alpha(verdicts) if verdicts else None
    return Review(len(rows), kept, alpha, len(annotators), tuple(rows), tuple(strange))


def _row(key: str, told: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], roles: Mapping[str, str]) -> Row:
    """What people say of one sample."""
    annotations = [each for task in tasks for each in _annotations(task)]
    said = {roles[_who(each)]: _choice(each) for each in annotations}
    dates = sorted(str(each.get("created_at", ""))[:10] for each in annotations)
    reasons = [text for each in annotations if (text := _reason(each))]
    values = {
        **{"id": told.get("id"), "roles": ", ".join(sorted(said)), "dates": ", ".join(dict.fromkeys(dates))},
        **{"reasons": " | ".join(reasons), "votes": said},
    }

    def rejected(reason: str) -> Row:
        return Row(key, Status.REJECTED, reason, values)

    if len(said) < len(annotations):
        return rejected("double annotation: one person has two annotations of this task; delete one")
    if None in said.values():
        return rejected(f"unreadable: an annotation without exactly one choice of {', '.join(_CHOICES)}")
    votes = {role: choice for role, choice in said.items() if role != ADJUDICATOR}
    if len(votes) < 2:
        return rejected(f"missing: {len(votes)} annotations of two or more")
    settled = said.get(ADJUDICATOR) or (next(iter(votes.values())) if len(set(votes.values())) == 1 else None)
    if settled is None:
        return rejected(f"adjudicate: {', '.join(f'{role} {choice}' for role, choice in sorted(votes.items()))}")
    if settled != told.get("combination"):
        return rejected(f"review: people see {settled}, meant was {told.get('combination')}")
    how = "adjudicated" if len(set(votes.values())) > 1 else "agreed"
    return Row(key, values={**values, "how": how})


_CHOICES = (*Combination, UNUSABLE)


def _meant(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Key of a task → id and combination of its sample.

    Raises:
        DataError: `export_review` has not written it so.
    """
    found = read_json(path, DataError)
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise DataError(f"{path}: not what --review-out writes; run it again")
    return found


def _tasks(found: Any, path: Path) -> list[Mapping[str, Any]]:
    """The tasks of a file.

    Raises:
        DataError: It is not a list of objects with data.
    """
    if not isinstance(found, list):
        raise DataError(f"{path}: expected Label Studio's JSON export, a list of tasks; not JSON-MIN or CSV")
    for number, task in enumerate(found, start=1):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            raise DataError(f"{path}: record {number}, field data: expected an object; export as JSON, not JSON-MIN")
    return found


def _annotations(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The annotations of a task, without those that were skipped."""
    found = task.get("annotations")
    every = found if isinstance(found, list) else []
    return [each for each in every if isinstance(each, dict) and not each.get("was_cancelled")]


def _who(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    return str(who.get("email", who.get("id")) if isinstance(who, dict) else who)


def _values(annotation: Mapping[str, Any], name: str, kind: str) -> list[Any]:
    """What the results of one control hold."""
    results = annotation.get("result")
    found = [each for each in results if isinstance(each, dict)] if isinstance(results, list) else []
    values = [each.get("value") for each in found if each.get("from_name") == name]
    lists = [value.get(kind) for value in values if isinstance(value, dict)]
    return [one for each in lists if isinstance(each, list) for one in each]


def _choice(annotation: Mapping[str, Any]) -> str | None:
    chosen = _values(annotation, "combination", "choices")
    return str(chosen[0]) if len(chosen) == 1 and chosen[0] in _CHOICES else None


def _reason(annotation: Mapping[str, Any]) -> str:
    return " ".join(" ".join(map(str, _values(annotation, "reason", "text"))).split())[:300]


def _said_by(tasks: Sequence[Mapping[str, Any]], name: str) -> str | None:
    found = [_choice(each) for task in tasks for each in _annotations(task) if _who(each) == name]
    return found[0] if len(found) == 1 else None


def _votes_against(data: Path) -> dict[str, int]:
    with StepFile(data, "check") as file:
        return {str(row.values.get("id")): int(row.values.get("against", 0)) for row in file.records()}
