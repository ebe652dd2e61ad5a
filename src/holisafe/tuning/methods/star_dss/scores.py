"""A file of safety scores: read, held against the data by content, and put into the samples.

JSON Lines. The first line says how the scores were made; each further line is an object with the sample's `id`, the
`sha256` of what was scored, the `ends` of its chunks in characters of the reference that are no white space, and one
score in [0, 1] per chunk, 1 being safe. A sample whose images could not be read has neither.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from holisafe.errors import ImageError, TuningError
from holisafe.images import content_hash, read_bytes
from holisafe.records import ImageRef, Sample
from holisafe.tuning._spans import squeezed

FORMAT = "holisafe-scores-1"

TAG = "star_scores"
"""The tag of a sample that holds its scores: a run's data, and so its identity, include them."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """The scores of one answer.

    Attributes:
        ends: Where each chunk ends, in characters of the reference that are no white space; rising.
        scores: P(safe) of the request with the answer up to there, in [0, 1].
    """

    ends: tuple[int, ...]
    scores: tuple[float, ...]

    def at(self, place: int) -> float:
        """The score of the chunk that a character is in; from the answer's end on, that of the last."""
        return self.scores[min(bisect_right(self.ends, place), len(self.scores) - 1)]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"ends": list(self.ends), "scores": list(self.scores)}


def content_keys(samples: Iterable[Sample]) -> list[str]:
    """SHA-256 of what is scored of each sample: its turns, the bytes of its images, and its reference."""
    known: dict[ImageRef, str] = {}
    return [_key(sample, known) for sample in samples]


def read_scores(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The first line of a file, and its rows by what they score; a row that was not written to its end is left out.

    Raises:
        TuningError: It cannot be read, or is no file of scores; the message names the line and the field.
    """
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise TuningError(f"scores {path}: cannot be read ({error}); make it with `holisafe tune-scores`") from None
    parsed = [_parsed(path, number, line) for number, line in enumerate(lines, 1) if line.endswith("\n")]
    if not parsed or parsed[0].get("format") != FORMAT:
        raise TuningError(
            f"scores {path}: line 1: format: expected {FORMAT!r}; make the file with `holisafe tune-scores`"
        )
    for number, row in enumerate(parsed[1:], 2):
        _check(path, number, row)
    return parsed[0], {row["sha256"]: row for row in parsed[1:]}


def with_scores(samples: Sequence[Sample], path: Path) -> list[Sample]:
    """The samples with the scores that a file holds of them.

    Raises:
        TuningError: It cannot be read, or lacks a sample or holds scores of another question, image or answer.
    """
    _, rows = read_scores(path)
    ids = {row["id"] for row in rows.values()}
    found = []
    for sample, key in zip(samples, content_keys(samples), strict=True):
        if key not in rows:
            why = "scores of another question, image or answer" if sample.id in ids else "no scores"
            raise TuningError(
                f"scores {path}: sample {sample.id}: holds {why}, so that they do not belong to these data; make "
                "them with `holisafe tune-scores`"
            )
        found.append(scored(sample, _chunks(path, sample, rows[key])))
    return found


def with_known_scores(samples: Sequence[Sample], path: Path) -> list[Sample]:
    """The samples with the scores that a file holds of them; those without are safe from beginning to end."""
    _, rows = read_scores(path)
    keys = content_keys(samples)
    return [
        scored(sample, _chunks(path, sample, rows[key]) if key in rows else safe(sample))
        for sample, key in zip(samples, keys, strict=True)
    ]


def scored(sample: Sample, chunks: Chunks) -> Sample:
    """The sample with these scores."""
    return replace(sample, tags={**sample.tags, TAG: json.dumps(chunks.to_json())})


def safe(sample: Sample) -> Chunks:
    """One chunk that is safe."""
    return Chunks((len(squeezed(sample.reference or "")),), (1.0,))


def chunks_of(sample: Sample) -> Chunks:
    """The scores that a sample holds.

    Raises:
        TuningError: It holds none.
    """
    if TAG not in sample.tags:
        raise TuningError(
            f"sample {sample.id}: it has no safety scores; give a file of them (--scores FILE), which `holisafe "
            "tune-scores` makes"
        )
    kept = json.loads(sample.tags[TAG])
    return Chunks(tuple(kept["ends"]), tuple(kept["scores"]))


def _chunks(path: Path, sample: Sample, row: Mapping[str, Any]) -> Chunks:
    if not row["ends"]:  # its images could not be read, so that it is left out of training too
        return safe(sample)
    if row["ends"][-1] != len(squeezed(sample.reference or "")):
        raise TuningError(f"scores {path}: sample {sample.id}: ends: the last is not the end of its answer")
    return Chunks(tuple(row["ends"]), tuple(map(float, row["scores"])))


def _key(sample: Sample, known: dict[ImageRef, str]) -> str:
    for ref in sample.images:
        if ref not in known:
            known[ref] = ref.digest or _digest(ref)
    turns = [[turn.role.value, turn.text, [known[ref] for ref in turn.images]] for turn in sample.turns]
    return hashlib.sha256(json.dumps([turns, sample.reference]).encode("ascii")).hexdigest()


def _digest(ref: ImageRef) -> str:
    try:
        return content_hash(read_bytes(ref))
    except ImageError:
        return "unreadable"


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TuningError(f"scores {path}: line {number}: expected a JSON object, found {line[:60]!r}")
    return found


def _check(path: Path, number: int, row: Mapping[str, Any]) -> None:
    where = f"scores {path}: line {number}"
    for name in ("id", "sha256"):
        if not isinstance(row.get(name), str):
            raise TuningError(f"{where}: {name}: expected a text, found {json.dumps(row.get(name))[:60]}")
    ends, scores = row.get("ends"), row.get("scores")
    if not (isinstance(ends, list) and all(type(end) is int for end in ends) and _rises(ends)):
        raise TuningError(f"{where}: ends: expected rising whole numbers above 0, found {json.dumps(ends)[:60]}")
    if not (isinstance(scores, list) and all(type(each) in (int, float) and 0 <= each <= 1 for each in scores)):
        raise TuningError(f"{where}: scores: expected numbers in [0, 1], found {json.dumps(scores)[:60]}")
    if len(ends) != len(scores):
        raise TuningError(f"{where}: scores: found {len(scores)} for {len(ends)} chunks, expected one each")


def _rises(ends: Sequence[int]) -> bool:
    return all(one < other for one, other in zip((0, *ends), ends, strict=False))
