"""What a build would ask: calls and tokens of each step, before anything is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from holisafe._files import hold
from holisafe.bench import Plan, PlannedCalls, plan_calls, recorded_calls, totals_of
from holisafe.building._asking import JUDGE, MODEL, Writer
from holisafe.building._build import SPENDING, BuildSettings
from holisafe.building._edits import Editor, edit_key
from holisafe.building._labels import Labelled, planned_labels, read_given
from holisafe.building._out import sample_of
from holisafe.building._pictures import read_pictures
from holisafe.building._prompts import MAX_TOKENS, answer_turns, check_turns, questions_turns
from holisafe.building._requests import Asked, answer_key, question_keys, read_questions
from holisafe.building._steps import StepFile
from holisafe.errors import RunError
from holisafe.judges import Request, asks_model, get, requests_of, with_model
from holisafe.records import Response
from holisafe.taxonomy import Combination

_EXPECTED = "x" * 80
"""Stands for a request or an answer that is not written yet."""


def plan_build(settings: BuildSettings) -> Plan:
    """What `build` with these settings would ask, at most; nothing is asked, and no guard is loaded.

    Pictures are decoded and noted, as `build` does first. A picture that a guard has still to label counts as harmless,
    for which most is asked. What rules or a check would leave out, and duplicates, are counted.

    Raises:
        DataError, RunError, JudgeError: As `build`.
    """
    if not settings.model and settings.editor is None:
        raise RunError("without --model nothing is asked: there is nothing to plan")
    writer = Writer(settings.model)
    with hold(settings.out, RunError), contextlib.ExitStack() as files:

        def opened(name: str) -> StepFile:
            return files.enter_context(StepFile(settings.out, name))

        found = read_pictures(settings.pictures, settings.out, opened("pictures"))
        given = read_given(settings.labels, found)
        labelled = planned_labels(found, given, settings.guard, opened("labels"))
        questions, answers = opened("questions"), opened("answers")
        asked = list(_expected(labelled, settings.per_picture, writer, questions))
        twins = [each for each in asked if each.combination in (Combination.USU, Combination.SSU)]
        planned = Plan(len(asked), (), totals_of(recorded_calls(settings.out / SPENDING)), settings.prices)
        if settings.model:
            planned = _plan(settings, writer, labelled, asked, twins, questions, answers)
        edits = [] if settings.editor is None else [_edits(twins, settings.editor, opened("edits"))]
        return replace(planned, parts=(*planned.parts, *edits))


def _plan(
    settings: BuildSettings,
    writer: Writer,
    labelled: Sequence[Labelled],
    asked: Sequence[Asked],
    twins: Sequence[Asked],
    questions: StepFile,
    answers: StepFile,
) -> Plan:
    spent = totals_of(recorded_calls(settings.out / SPENDING))
    keys = question_keys(labelled, settings.per_picture, writer)
    count = settings.per_picture
    missing = [
        Request(questions_turns(about.picture.ref, about.label, kind, count), _EXPECTED * count, MAX_TOKENS)
        for key, (about, kind) in keys.items()
        if questions.get(key) is None
    ]
    parts = [plan_calls(MODEL, "questions", writer.model, missing, len(keys) - len(missing), spent, settings.prices)]
    everything = [*asked, *twins]
    left = [one for one in everything if answers.get(answer_key(one, writer)) is None]
    calls = [
        Request(answer_turns(one.about.picture.ref, one.about.label, one.combination, one.question), _EXPECTED, 512)
        for one in left
    ]
    recorded = len(everything) - len(left)
    parts.append(plan_calls(MODEL, "answers", writer.model, calls, recorded, spent, settings.prices))
    for voter in settings.voters:
        votes = [
            Request(check_turns(one.about.picture.ref, one.question, _EXPECTED), _EXPECTED, MAX_TOKENS)
            for one in everything
        ]
        parts.append(plan_calls(JUDGE, "votes", voter, votes, 0, spent, settings.prices))
    judge = with_model(get(settings.judge), settings.voters[0])
    if asks_model(judge):
        judged = [
            call
            for one in everything
            for call in requests_of(judge, sample_of(one), Response(one.id, _EXPECTED, writer.by))
        ]
        parts.append(plan_calls(JUDGE, judge.id.name, settings.voters[0], judged, 0, spent, settings.prices))
    return Plan(len(everything), tuple(parts), spent, settings.prices)


def _edits(asked: Sequence[Asked], editor: Editor, file: StepFile) -> PlannedCalls:
    """Edits to make, at most: one for each request that is unsafe by its picture."""
    keys = {edit_key(one, editor) for one in asked}
    missing = sum(file.get(key) is None for key in keys)
    money = None if editor.price is None else missing * editor.price
    unknown: dict[str, Any] = dict.fromkeys(("text", "images", "output", "output_at_most", "seconds"))
    return PlannedCalls(
        MODEL, "edits", editor.model, missing, len(keys) - missing, image_rule="", measured=0,
        money=money, money_at_most=money, **unknown,
    )  # fmt: skip


def _expected(labelled: Sequence[Labelled], count: int, writer: Writer, file: StepFile) -> Sequence[Asked]:
    """The requests that are there, and as many as are still to be written."""
    _, there, _ = read_questions(labelled, count, writer, file)
    keys = question_keys(labelled, count, writer)
    missing = [pair for key, pair in keys.items() if file.get(key) is None]
    return [*there, *(Asked(about, kind, _EXPECTED, None, writer.by) for about, kind in missing for _ in range(count))]
