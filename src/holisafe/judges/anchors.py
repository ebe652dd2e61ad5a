"""Anchors: 50 fixed answers, judged again from time to time, that tell when a judge has drifted under its name.

A hosted model may change though its name does not. The first check of a judge is recorded, later ones are compared with
that record: where more verdicts have changed than chance explains, figures before and after are not comparable. The
answers are of the labelled set (`perf/judges.py`), with a short request each and no image; their content is their
identity.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from holisafe._files import read_json, write_atomically
from holisafe.errors import JudgeError
from holisafe.metrics import most_by_chance
from holisafe.records import MAX_UNJUDGED, JudgeId, Judgement, Outcome, Response, Sample

NOISE = 0.02
"""Share of verdicts that may change between two checks of the same judge, unless another is given."""

Verdicts = Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Anchors:
    """The fixed answers.

    Attributes:
        samples: What was asked, without images.
        responses: The answers, one per sample.
        digest: SHA-256 of their content, in hex.
    """

    samples: tuple[Sample, ...]
    responses: tuple[Response, ...]
    digest: str


@functools.cache
def anchors() -> Anchors:
    """The answers that this version ships."""
    content = (files("holisafe.judges") / "data" / "anchors.jsonl").read_bytes()
    rows = [json.loads(line) for line in content.splitlines()]
    samples = tuple(Sample.ask(row["id"], (), row["query"], row["combination"]) for row in rows)
    responses = tuple(Response(row["id"], row["text"], "anchor") for row in rows)
    return Anchors(samples, responses, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class AnchorCheck:
    """One judge's verdicts on the anchors beside those of its record.

    Attributes:
        judge: Which judge.
        recorded: When the record was made, ISO 8601 in UTC.
        checked: When this check was made.
        is_new: Whether this check made the record.
        n: Number of anchors.
        changed: Anchors with another verdict: id, verdict of the record, verdict now.
        noise: Share of verdicts that may change by chance, in [0, 1].
        allowed: Most changes that chance explains: more have a probability of 5 % at most (exact binomial).
    """

    judge: JudgeId
    recorded: str
    checked: str
    is_new: bool
    n: int
    changed: tuple[tuple[str, Outcome, Outcome], ...]
    noise: float
    allowed: int

    @property
    def alarm(self) -> bool:
        """Whether more verdicts have changed than chance explains."""
        return len(self.changed) > self.allowed

    def to_json(self) -> dict[str, Any]:
        """JSON values, one key per attribute, and `alarm`."""
        return {
            "judge": self.judge.to_json(),
            "recorded": self.recorded,
            "checked": self.checked,
            "is_new": self.is_new,
            "n": self.n,
            "changed": [{"id": name, "before": before.value, "now": now.value} for name, before, now in self.changed],
            "noise": self.noise,
            "allowed": self.allowed,
            "alarm": self.alarm,
        }


def compare_or_record(
    file: str | Path, judgements: Sequence[Sequence[Judgement]], *, noise: float = NOISE
) -> list[AnchorCheck]:
    """Compare judgements on the anchors with the record, and record those of judges that are not there yet.

    A record is made once and never changed: slow drift adds up against it.

    Args:
        file: The record, JSON; made if missing.
        judgements: For each judge, one judgement per anchor.
        noise: Share of verdicts that may change by chance, in [0, 1).

    Raises:
        JudgeError: An anchor could not be judged, a new record would lack verdicts on more than 5 % of them
            (`MAX_UNJUDGED`), the record cannot be read or written, or it is of other anchors.
    """
    if not 0 <= noise < 1:
        raise JudgeError(f"the share of verdicts that may change by chance is {noise}; expected one in [0, 1)")
    place, now = Path(file), datetime.now(UTC).isoformat(timespec="seconds")
    known, checks = _read(place), []
    added = []
    for found in judgements:
        judge, verdicts = _verdicts(found)
        recorded, before = known.get(judge, (now, verdicts))
        if judge not in known:
            _check_record(found)
            added.append((judge, now, verdicts))
        changed = tuple(
            (name, before[name], outcome) for name, outcome in verdicts.items() if before[name] is not outcome
        )
        allowed = most_by_chance(len(verdicts), noise)
        checks.append(AnchorCheck(judge, recorded, now, judge not in known, len(verdicts), changed, noise, allowed))
    if added:
        _write(place, [*((judge, *said) for judge, said in known.items()), *added])
    return checks


def _verdicts(judgements: Sequence[Judgement]) -> tuple[JudgeId, Verdicts]:
    failed = [each for each in judgements if each.outcome is Outcome.ERROR]
    judge = judgements[0].judge
    if failed:
        raise JudgeError(
            f"judge {judge.name!r} could not judge {len(failed)} of {len(judgements)} anchors, so that nothing was "
            f"compared or recorded; the first: {failed[0].rationale}"
        )
    return judge, {each.sample_id: each.outcome for each in judgements}


def _check_record(judgements: Sequence[Judgement]) -> None:
    """Refuse a record in which too many anchors have no verdict: drift could not be seen against it."""
    unjudged = [each for each in judgements if each.outcome in (Outcome.UNPARSABLE, Outcome.REFUSED_TO_JUDGE)]
    if len(unjudged) > MAX_UNJUDGED * len(judgements):
        raise JudgeError(
            f"judge {judgements[0].judge.name!r} gave no verdict on {len(unjudged)} of {len(judgements)} anchors, so "
            f"that nothing was recorded; the first: {unjudged[0].outcome.value}, {unjudged[0].rationale}"
        )


_Record = tuple[JudgeId, str, Verdicts]


def _read(file: Path) -> dict[JudgeId, tuple[str, Verdicts]]:
    if not file.exists() and not file.is_symlink():
        return {}
    record = read_json(file, JudgeError)
    try:
        digest, entries = record["anchors"], record["judges"]
        known: dict[JudgeId, tuple[str, Verdicts]] = {
            JudgeId.from_json(each["judge"]): (
                str(each["date"]),
                {str(name): Outcome(outcome) for name, outcome in each["verdicts"].items()},
            )
            for each in entries
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise JudgeError(f"{file} is no record of anchors ({error!r}); give another file") from error
    names = {sample.id for sample in anchors().samples}
    if digest != anchors().digest or any(said.keys() != names for _, said in known.values()):
        raise JudgeError(
            f"{file} records verdicts on other anchors than this version of holisafe has; give another file, and "
            "compare nothing across them"
        )
    return known


def _write(file: Path, records: Sequence[_Record]) -> None:
    found = {
        "anchors": anchors().digest,
        "judges": [
            {
                "judge": judge.to_json(),
                "date": date,
                "verdicts": {name: outcome.value for name, outcome in verdicts.items()},
            }
            for judge, date, verdicts in records
        ],
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise JudgeError(f"cannot write {file}: {error.strerror or error}; give another file") from error
