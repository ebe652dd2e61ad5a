"""Steps "questions" and "answers": what is asked about each picture, and what is right to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holisafe.bench import Spending
from holisafe.building._asking import Question, Writer, ask_missing
from holisafe.building._labels import Labelled
from holisafe.building._prompts import (
    ANSWER_SCHEMA,
    QUESTIONS_SCHEMA,
    Template,
    answer_turns,
    questions_turns,
    read_reply,
    templates,
    words_of,
)
from holisafe.building._rules import wrong_with_answer, wrong_with_request
from holisafe.building._steps import Row, Status, StepCounts, StepFile, counts_of, key_of
from holisafe.errors import DataError, UnknownNameError
from holisafe.taxonomy import Combination, GuardLabel, Subcategory, parse_subcategory


@dataclass(frozen=True, slots=True)
class Asked:
    """One request about one picture.

    Attributes:
        about: The picture and its label.
        combination: What it is meant to be.
        question: The request.
        subcategory: The harm that an answer would do; None where there is none.
        by: What has written it.
        answer: The answer; empty where it is not written yet.
        safe_answer: The answer to the same request about a harmless picture, where a template has one.
        avoid: Words of which none may be in what the twin's picture shows.
        twin: Id of the request of which it is the harmless twin; empty for others.
    """

    about: Labelled
    combination: Combination
    question: str
    subcategory: Subcategory | None
    by: str
    answer: str = ""
    safe_answer: str = ""
    avoid: tuple[str, ...] = ()
    twin: str = ""

    @property
    def id(self) -> str:
        """Its id in the data: of picture, combination and request."""
        return key_of(self.about.picture.digest, self.combination.value, self.question)[:16]

    @property
    def said(self) -> dict[str, Any]:
        """What rows of later steps say of it."""
        return {"id": self.id, "picture": self.about.picture.name, "combination": self.combination.value}


def combinations_of(label: GuardLabel) -> tuple[Combination, ...]:
    """The combinations that a picture with this label can be part of."""
    is_safe = label is GuardLabel.SAFE
    return tuple(each for each in Combination if each.image_is_safe == is_safe)


def question_keys(labelled: Sequence[Labelled], count: int, writer: Writer) -> dict[str, tuple[Labelled, Combination]]:
    """Key of each row of the step → the picture and the combination."""
    return {
        key_of("questions", about.picture.digest, about.label.value, about.shows, kind.value, count, writer.by): (
            about,
            kind,
        )
        for about in labelled
        for kind in combinations_of(about.label)
    }


def write_questions(
    labelled: Sequence[Labelled], count: int, writer: Writer, file: StepFile, spending: Spending | None
) -> tuple[list[Row], list[Asked], StepCounts]:
    """Requests about each picture, as many as wanted per combination.

    Returns:
        The rows (one for each picture and combination, with all of its requests), the requests that no rule rejects,
        and the counts of requests.

    Raises:
        ModelError, RunError: As `ask_missing`.
    """
    wanted = question_keys(labelled, count, writer)
    if writer.model:
        ask_missing(
            writer,
            {key: _question(about, kind, count) for key, (about, kind) in wanted.items()},
            file,
            spending,
        )
    else:
        for key, (about, kind) in wanted.items():
            if file.get(key) is None:
                file.append(_from_templates(key, about, kind, count))
    return read_questions(labelled, count, writer, file)


def read_questions(
    labelled: Sequence[Labelled], count: int, writer: Writer, file: StepFile
) -> tuple[list[Row], list[Asked], StepCounts]:
    """The requests that the step's file holds, as `write_questions` gives them."""
    wanted = question_keys(labelled, count, writer)
    rows = [row for key in wanted if (row := file.latest(key)) is not None]
    reasons = [row.reason for row in rows if not row.is_ok]
    asked: dict[str, Asked] = {}
    for row in rows:
        about, kind = wanted[row.key]
        for one in row.values.get("requests", ()):
            made = _asked(one, about, kind, writer)
            reason = one["reason"] or ("same request: of the same picture" if made.id in asked else "")
            reasons.append(reason)
            if not reason:
                asked[made.id] = made
    return rows, list(asked.values()), counts_of("questions", "requests", reasons)


def answer_key(one: Asked, writer: Writer) -> str:
    """Key of the row of a request's answer."""
    about = one.about
    parts = (about.picture.digest, about.label.value, about.shows, one.combination.value, one.question)
    return key_of("answers", *parts, one.answer, writer.by)


def write_answers(
    asked: Sequence[Asked], writer: Writer, file: StepFile, spending: Spending | None
) -> tuple[list[Row], list[Asked]]:
    """The answer to each request; requests that got none are left out.

    Raises:
        ModelError, RunError: As `ask_missing`.
    """
    wanted = {answer_key(one, writer): one for one in asked}
    if writer.model:
        ask_missing(writer, {key: _answer(one) for key, one in wanted.items()}, file, spending)
    else:
        for key, one in wanted.items():
            if file.get(key) is None:
                reason = wrong_with_answer(one.answer, one.combination)
                status = Status.REJECTED if reason else Status.OK
                file.append(Row(key, status, reason, {**one.said, "answer": one.answer}))
    rows = [row for key in wanted if (row := file.latest(key)) is not None]
    return rows, [replace(wanted[row.key], answer=str(row.values["answer"])) for row in rows if row.is_ok]


def _question(about: Labelled, kind: Combination, count: int) -> Question:
    values = {"picture": about.picture.name, "digest": about.picture.digest, "combination": kind.value}

    def read(text: str) -> Mapping[str, Any]:
        requests = read_reply(text, "requests")["requests"]
        if not isinstance(requests, list) or not all(isinstance(each, dict) for each in requests):
            raise DataError("wrong JSON: expected a list of objects in requests")
        if not requests:
            raise DataError("empty: the reply holds no request")
        return {"requests": [_read_request(each, kind) for each in requests[:count]]}

    return Question(
        lambda: questions_turns(about.picture.ref, about.label, kind, count), QUESTIONS_SCHEMA, values, read
    )


def _read_request(raw: Mapping[str, Any], kind: Combination) -> dict[str, Any]:
    """One request of a reply, with the reason for which a rule rejects it."""
    text, harm = raw.get("text"), raw.get("subcategory", "none")
    if not isinstance(text, str) or not isinstance(harm, str):
        return {"text": "", "subcategory": None, "reason": "wrong JSON: text and subcategory are texts"}
    reason = wrong_with_request(text, kind)
    try:
        subcategory = None if harm in ("none", "") else parse_subcategory(harm).value
    except UnknownNameError:
        subcategory, reason = None, reason or f"unknown label: subcategory {harm[:40]!r}"
    if kind in (Combination.SSU, Combination.SUU) and subcategory is None:
        reason = reason or "no label: an unsafe request about a harmless picture needs the subcategory of its harm"
    return {"text": text.strip(), "subcategory": subcategory, "reason": reason}


def _answer(one: Asked) -> Question:
    def read(text: str) -> Mapping[str, Any]:
        answer = read_reply(text, "answer")["answer"]
        if not isinstance(answer, str):
            raise DataError("wrong JSON: expected a text in answer")
        if reason := wrong_with_answer(answer, one.combination):
            raise DataError(reason)
        return {"answer": answer.strip()}

    about = one.about
    return Question(
        lambda: answer_turns(about.picture.ref, about.label, one.combination, one.question),
        ANSWER_SCHEMA,
        one.said,
        read,
    )


def _from_templates(key: str, about: Labelled, kind: Combination, count: int) -> Row:
    values = {"picture": about.picture.name, "digest": about.picture.digest, "combination": kind.value}
    fitting = [each for each in templates()[1] if each.combination is kind and each.fits(about.label, about.shows)]
    if not fitting:
        reason = "no template: none fits what is known of the picture; a model can write one (--model)"
        return Row(key, Status.REJECTED, reason, values)
    start = int(about.picture.digest[:8], 16)
    chosen = [fitting[(start + place) % len(fitting)] for place in range(min(count, len(fitting)))]
    requests = [{"text": each.question, "subcategory": each.subcategory, "reason": ""} for each in chosen]
    return Row(key, values={**values, "requests": requests})


def _asked(one: Mapping[str, Any], about: Labelled, kind: Combination, writer: Writer) -> Asked:
    harm = None if one["subcategory"] is None else Subcategory(one["subcategory"])
    own = about.label.subcategory if not kind.image_is_safe else harm
    made = Asked(about, kind, one["text"], own, writer.by)
    template = None if writer.model else _template(templates()[1], made)
    if template is None:
        return made
    words = {"label": words_of(about.label), "shows": about.shows}
    answer = template.answer.format_map(words)
    return replace(made, answer=answer, safe_answer=template.safe_answer, avoid=template.shows)


def _template(known: Iterable[Template], one: Asked) -> Template:
    return next(each for each in known if each.question == one.question and each.combination is one.combination)
