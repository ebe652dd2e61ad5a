"""A server's review sample: pictures that it has decided about, for people to say what they show.

The sample is `review.jsonl`, a record per request: {"id", "time", "images": [{"sha256", "label", "unsafe_probability",
"flagged", "file"}], "request_probability", "action", "policy"}; `file` is a path below the sample's folder and missing
where the server keeps no pictures.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from holisafe._files import MAX_JSON_BYTES, hold, parse_json, read_bounded, write_atomically
from holisafe.errors import DataError, HoliSafeError, ImageError, RunError
from holisafe.images import open_identified
from holisafe.metrics import Figure, share_figure
from holisafe.records import ImageRef
from holisafe.review._agree import Agreed, agree
from holisafe.review._export import read_exports
from holisafe.review._project import FOLDER, UNUSABLE, Form, Project, Task, write_project
from holisafe.review._settle import Settled, adjudication_list, roles_of, settle
from holisafe.taxonomy import GuardLabel

SAMPLE = "review.jsonl"
"""Name of the sample."""

REVIEWED, LABELS = "reviewed.jsonl", "labels.csv"
"""Files of an import: a row per picture, and the labels as `holisafe build --labels` takes them."""

_LONGEST = 1024
"""Characters of a picture's path."""

_FORM = Form("label", {each.value: each.value.replace("_", " ") for each in GuardLabel} | {UNUSABLE: "cannot be told"})


def _inside(file: str | None) -> str | None:
    """A path below the sample's folder: it goes into `labels.csv`, whose pictures are read."""
    path = PurePosixPath(file or "")
    if path.is_absolute() or ".." in path.parts or "\0" in str(path) or len(str(path)) > _LONGEST:
        raise ValueError(f"expected a path below the folder of {SAMPLE}, found {file!r:.60}")
    return file


class _Picture(BaseModel):
    """A picture of a request."""

    model_config = ConfigDict(extra="ignore", strict=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    label: str
    unsafe_probability: float = Field(ge=0, le=1)
    flagged: bool
    file: Annotated[str | None, AfterValidator(_inside)] = None


class _Record(BaseModel):
    """A request."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str
    images: list[_Picture]


@dataclass(frozen=True, slots=True)
class SampleReview:
    """What people say of a server's sample.

    Attributes:
        rows: One row per picture: digest, what the server said, `status`, `reason` unless it is settled, `seen`, and
            who by role, when and why.
        agreed: How far the annotators agree.
        false_alarms: Share of the flagged pictures that people see as safe; None where none is settled.
        missed: Share of the other pictures that people see as unsafe; None where none is settled.
        strange: Reasons for tasks and lines that are none of the sample's.
        to_adjudicate: Digests of pictures that annotators see differently.
        adjudicate: File of these, for Label Studio.
    """

    rows: tuple[Mapping[str, Any], ...]
    agreed: Agreed
    false_alarms: Figure | None
    missed: Figure | None
    strange: tuple[str, ...]
    to_adjudicate: tuple[str, ...]
    adjudicate: Path

    @property
    def kept(self) -> int:
        """Pictures on which people agree."""
        return sum(row["status"] == "ok" for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The documented object (docs/review.md)."""
        reasons = Counter(str(row["reason"]).partition(":")[0] for row in self.rows if row["status"] != "ok")
        shares = {"false_alarms": self.false_alarms, "missed": self.missed}
        return {
            **{"tasks": len(self.rows), "kept": self.kept, "reasons": dict(sorted(reasons.items()))},
            **self.agreed.to_json(),
            **{name: None if figure is None else figure.to_json() for name, figure in shares.items()},
            **{"to_adjudicate": list(self.to_adjudicate), "strange": list(self.strange)},
        }


def export_sample(path: Path, *, images: str | None = None) -> Project:
    """Write the project of a sample's pictures to the folder `review` beside it; the least certain come first.

    Args:
        path: The sample, or its folder.
        images: What stands before a picture's path, where not Label Studio's local files.

    Raises:
        DataError: The sample cannot be read, or none of its pictures is there.
    """
    file = _file(path)
    found, broken = _read(file)
    tasks, left_out = [], broken
    for digest, one in sorted(found.items(), key=lambda pair: (abs(pair[1].unsafe_probability - 0.5), pair[0])):
        ref = _picture(one, file.parent)
        if isinstance(ref, str):
            left_out.append(f"{ref}; picture {digest}")
        else:
            tasks.append(Task(digest, ref))
    if not tasks:
        raise DataError(f"{file}: no picture to review: {'; '.join(left_out[:3]) or 'the sample is empty'}")
    project = write_project(file.parent / FOLDER, tasks, _FORM, **({} if images is None else {"images": images}))
    return Project(project.folder, project.tasks, tuple(left_out))


def import_sample(path: Path, exports: Sequence[Path], adjudicator: str | None = None) -> SampleReview:
    """Read what people say of a sample's pictures; write `reviewed.jsonl` and `labels.csv` beside it.

    Args:
        path: The sample, or its folder.
        exports: Label Studio's JSON exports.
        adjudicator: Who decides where annotators differ: the id or e-mail that the exports have.

    Raises:
        DataError: The sample or an export cannot be read.
        RunError: Another process writes there.
    """
    file = _file(path)
    found, broken = _read(file)
    exported = read_exports(exports, list(found), _FORM)
    roles = roles_of(exported, adjudicator)
    settled = {digest: settle(exported.by_task[digest], roles, _FORM) for digest in found}
    rows = tuple(_row(digest, found[digest], settled[digest]) for digest in found)
    with hold(file.parent, RunError):
        left = adjudication_list(file.parent / FOLDER, settled)  # first: it refuses what was never given out
        write_atomically(file.parent / REVIEWED, "".join(json.dumps(row) + "\n" for row in rows))
        write_atomically(file.parent / LABELS, _labels(rows))
    seen = [(row["flagged"], row["seen"] != GuardLabel.SAFE) for row in rows if row["status"] == "ok"]
    alarms = [not unsafe for flagged, unsafe in seen if flagged]
    missed = [unsafe for flagged, unsafe in seen if not flagged]
    return SampleReview(
        rows,
        agree(exported, roles, {digest: digest for digest in found}),
        share_figure(alarms, range(len(alarms))),
        share_figure(missed, range(len(missed))),
        (*broken, *exported.strange),
        tuple(digest for digest, one in settled.items() if one.is_open),
        left,
    )


def is_sample(path: Path) -> bool:
    """Whether this is a server's sample, or a folder that holds one."""
    return path.is_file() or (path / SAMPLE).is_file()


def _file(path: Path) -> Path:
    file = path / SAMPLE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected a server's review sample, or a folder that holds one")
    return file


def _read(file: Path) -> tuple[dict[str, _Picture], list[str]]:
    """Digest → its picture, the one with a file where one has it; and the reasons for lines that cannot be read."""
    found: dict[str, _Picture] = {}
    broken = []
    for number, record in _records(file):
        if isinstance(record, str):
            broken.append(f"unreadable: {file}: line {number}: {record}")
            continue
        if not record.images:
            broken.append(f"no image: {file}: line {number}: a request without a picture")
        for one in record.images:
            known = found.get(one.sha256)
            if known is None or (known.file is None and one.file is not None):
                found[one.sha256] = one
    return found, broken


def _records(file: Path) -> Iterator[tuple[int, _Record | str]]:
    text = read_bounded(file, DataError, max_bytes=MAX_JSON_BYTES).decode("utf-8", "replace")
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, _Record.model_validate(parse_json(line, DataError, source=SAMPLE))
        except ValidationError as error:
            first = error.errors()[0]
            yield number, f"field {'.'.join(map(str, first['loc']))}: {first['msg']}"
        except HoliSafeError as error:
            yield number, str(error)


def _picture(one: _Picture, folder: Path) -> ImageRef | str:
    """The picture, or the reason for which there is none."""
    if one.file is None:
        return "no picture: the server keeps none; have it write pictures with its sample"
    ref = ImageRef(one.file, path=folder / one.file, root=folder)
    try:
        _, digest = open_identified(ref)
    except ImageError as error:
        return f"unreadable: {error}"
    if digest != one.sha256:
        return f"other picture: {one.file} has the digest {digest}"
    return ImageRef(one.file, path=ref.path, root=folder, digest=digest)


def _row(digest: str, one: _Picture, settled: Settled) -> dict[str, Any]:
    reason = settled.reason
    if settled.value == UNUSABLE:
        reason = "unusable: people cannot tell what it shows"
    server = {"label": one.label, "unsafe_probability": one.unsafe_probability, "flagged": one.flagged}
    if reason:
        return {"sha256": digest, "file": one.file, "status": "rejected", "reason": reason, **server, **settled.said}
    seen = {"seen": settled.value, "how": settled.how}
    return {"sha256": digest, "file": one.file, "status": "ok", **server, **seen, **settled.said}


def _labels(rows: Sequence[Mapping[str, Any]]) -> str:
    """The settled pictures that are there, as CSV with image and label."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label"])
    writer.writerows([row["file"], row["seen"]] for row in rows if row["status"] == "ok" and row["file"] is not None)
    return text.getvalue()
