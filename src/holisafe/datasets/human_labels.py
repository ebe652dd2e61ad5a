"""Answers with labels by people, as CSV, JSON, JSON Lines, Label Studio's JSON export or Inspect's precomputed scores.

A row of CSV or a JSON object is one label of one answer: `id`, `text` (or `prediction`), `label`, and where there are
several, `annotator`, `model` and `cluster`; `request` (or `query`) is what was asked, if it is known. Several
annotators of an answer are several rows. A row without a label is an answer without one. Label Studio's export has one
task per answer: these fields in `data`, and one choice in each of `annotations`. The files of Inspect's scorer
`precomputed_scores` (JSON, JSON Lines) hold `id`, `value` and `epoch` alone: the answers come from elsewhere, and the
annotator is the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from holisafe.datasets._rows import BrokenRow, read_file
from holisafe.datasets._values import MISSING, plain, show, usable_id
from holisafe.errors import DataError
from holisafe.records import Outcome

LABELS = (Outcome.REFUSED, Outcome.ANSWERED, Outcome.UNHELPFUL, Outcome.HARMFUL)
"""Labels that people may give."""


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """One answer and what people call it.

    Attributes:
        id: Its id, unique within its model.
        text: The answer.
        model: The model that gave it; empty where the file names none.
        cluster: What it shares with others, such as the image; its id where the file names none.
        labels: Label by annotator; empty without any.
        request: The text of what was asked; empty where it is not known.
    """

    id: str
    text: str
    model: str = ""
    cluster: str = ""
    labels: Mapping[str, Outcome] = field(default_factory=dict, hash=False)
    request: str = ""

    def settled(self, adjudicator: str | None = None) -> Outcome | None:
        """The label that all annotators give, or that of the adjudicator; None where there is none.

        Args:
            adjudicator: The annotator whose label decides where it is given.
        """
        if adjudicator is not None and adjudicator in self.labels:
            return self.labels[adjudicator]
        values = set(self.labels.values())
        return values.pop() if len(values) == 1 else None


def read_labels(
    path: str | Path | Sequence[str | Path], answers: Sequence[LabelledAnswer] | None = None
) -> tuple[LabelledAnswer, ...]:
    """The answers of one or more files, in the order of their first rows, each with all of its labels.

    Args:
        path: The file or files; each of precomputed scores is one annotator, named after it.
        answers: The answers that precomputed scores are about, of one model and without labels; they stay without a
            label where there is no score.

    Raises:
        DataError: A file cannot be read, a field is missing or not what it should be, an annotator labels an answer
            twice, one answer has two texts, or there are precomputed scores and no answers to them.
    """
    files = [Path(path)] if isinstance(path, (str, Path)) else [Path(each) for each in path]
    found = {(one.model, one.id): one for one in answers or ()}
    by_id = None if answers is None else {one.id: one for one in answers}
    before = len(found)
    for file in files:
        _read_into(found, file, by_id)
    if len(found) == before and not any(one.labels for one in found.values()):
        raise DataError(f"{files[0]}: holds no records; expected an object with id, text and label each")
    return tuple(found.values())


def _read_into(
    found: dict[tuple[str, str], LabelledAnswer], file: Path, answers: Mapping[str, LabelledAnswer] | None
) -> None:
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected CSV, JSON, JSON Lines or a Label Studio export")
    for at, raw in enumerate(read_file(file), start=1):
        if isinstance(raw, BrokenRow) or not isinstance(raw, Mapping):
            why = raw.reason if isinstance(raw, BrokenRow) else f"found {show(raw)}"
            raise DataError(f"{file}: record {at}: {why}; expected an object with id, text and label")
        where = f"{file}: record {at}"
        is_score = "value" in raw and not raw.keys() & {"label", "text", "prediction", "data"}
        is_task = isinstance(raw.get("data"), Mapping) and "annotations" in raw
        rows = [_score(raw, where, file.stem, answers)] if is_score else _task(raw, where) if is_task else None
        for one in [_row(raw, where)] if rows is None else rows:
            _add(found, one, where)


def _score(
    raw: Mapping[str, Any], where: str, annotator: str, answers: Mapping[str, LabelledAnswer] | None
) -> LabelledAnswer:
    """A precomputed score with the answer that it is about."""
    if answers is None:
        raise DataError(
            f"{where}: a score without its answer; name the run, log or prediction file that holds the answers "
            "(--answers)"
        )
    name = usable_id(raw.get("id"))
    if name is None or name not in answers:
        found = show(raw.get("id", MISSING))
        raise DataError(f"{where}, field id: found {found}; expected the id of a sample that was answered")
    epoch = plain(raw.get("epoch"))
    if epoch not in (None, 1) or isinstance(epoch, bool):
        raise DataError(f"{where}, field epoch: found {show(epoch)}; a run holds the first answer to each sample alone")
    label = _label(plain(raw.get("value")), f"{where}, field value")
    return replace(answers[name], labels={annotator: label})


def _add(found: dict[tuple[str, str], LabelledAnswer], one: LabelledAnswer, where: str) -> None:
    known = found.get((one.model, one.id))
    if known is None:
        found[one.model, one.id] = one
        return
    for name, text, before in (("text", one.text, known.text), ("request", one.request, known.request)):
        if text != before and (name == "text" or (text and before)):
            raise DataError(
                f"{where}, field {name}: another text than that of an earlier record with id {one.id!r}; "
                "give each answer its own id"
            )
    if twice := sorted(known.labels.keys() & one.labels.keys()):
        raise DataError(f"{where}, field annotator: {twice[0]!r} labels the answer {one.id!r} twice; keep one label")
    labels = {**known.labels, **one.labels}
    found[one.model, one.id] = replace(known, labels=labels, request=known.request or one.request)


def _row(raw: Mapping[str, Any], where: str) -> LabelledAnswer:
    label = plain(raw.get("label"))
    annotator = _word(raw, "annotator", where)
    labels = {} if label in (None, "") else {annotator: _label(label, f"{where}, field label")}
    return _answer(raw, where, labels)


def _task(raw: Mapping[str, Any], where: str) -> Iterator[LabelledAnswer]:
    """One answer per annotation, and at least one."""
    annotations = raw["annotations"]
    if not isinstance(annotations, list) or not all(isinstance(each, Mapping) for each in annotations):
        raise DataError(f"{where}, field annotations: found {show(annotations)}; expected a list of objects")
    data = {"id": raw.get("id", MISSING), **raw["data"]}
    yield _answer(data, where, {})
    for number, each in enumerate(annotations):
        if each.get("was_cancelled"):
            continue
        who = each.get("completed_by", number)
        who = who.get("email", who.get("id", number)) if isinstance(who, Mapping) else who
        yield _answer(data, where, {str(who): _choice(each, f"{where}, annotation {number + 1}")})


def _choice(annotation: Mapping[str, Any], where: str) -> Outcome:
    results = annotation.get("result")
    results = [each for each in results if isinstance(each, Mapping)] if isinstance(results, list) else []
    values = [each.get("value") for each in results if each.get("type") == "choices"]
    chosen = [choice for value in values if isinstance(value, Mapping) for choice in value.get("choices", ())]
    if len(chosen) != 1:
        raise DataError(f"{where}: found {len(chosen)} choices; expected one of {', '.join(LABELS)}")
    return _label(chosen[0], where)


def _answer(raw: Mapping[str, Any], where: str, labels: Mapping[str, Outcome]) -> LabelledAnswer:
    name = usable_id(raw.get("id"))
    if name is None:
        raise DataError(f"{where}, field id: found {show(raw.get('id', MISSING))}; expected an integer or a text")
    text = raw.get("text", raw.get("prediction", MISSING))
    if not isinstance(text, str):
        raise DataError(f"{where}, field text: found {show(text)}; expected the answer's text")
    request = raw.get("request", raw.get("query")) or ""
    if not isinstance(request, str):
        raise DataError(f"{where}, field request: found {show(request)}; expected the text of what was asked")
    model, cluster = _word(raw, "model", where), _word(raw, "cluster", where) or name
    return LabelledAnswer(name, text, model, cluster, labels, request)


def _word(raw: Mapping[str, Any], name: str, where: str) -> str:
    value = plain(raw.get(name))
    if value in (None, ""):
        return ""
    word = usable_id(value)
    if word is None:
        raise DataError(f"{where}, field {name}: found {show(value)}; expected a short text")
    return word


def _label(value: Any, where: str) -> Outcome:
    word = value.strip().lower() if isinstance(value, str) else value
    if word not in LABELS:
        raise DataError(f"{where}: found {show(value)}; expected one of {', '.join(LABELS)}")
    return Outcome(word)
