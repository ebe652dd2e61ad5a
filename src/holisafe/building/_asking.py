"""Asking a model for what a step lacks: every reply is a row, whatever it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from holisafe.bench import Spending, ask_each
from holisafe.building._prompts import MAX_TOKENS, prompts_version, templates
from holisafe.building._steps import Row, Status, StepFile
from holisafe.errors import DataError, JudgeError
from holisafe.judges import Ask
from holisafe.records import Turn

T = TypeVar("T")

MODEL = "model"
JUDGE = "judge"
"""Roles of calls, as prices have them."""


@dataclass(frozen=True, slots=True)
class Writer:
    """What writes requests and answers, or checks them.

    Attributes:
        model: Inspect's name of a model; empty for the templates.
        ask: How to reach it, where not by its name.
    """

    model: str = ""
    ask: Ask | None = None

    @property
    def by(self) -> str:
        """What the rows of a step depend on: the model and the prompts' version, or the templates' version."""
        return f"{self.model}, prompts {prompts_version()}" if self.model else f"templates {templates()[0]}"

    @property
    def reach(self) -> str | Ask:
        """What `ask_each` takes."""
        return self.model if self.ask is None else self.ask


@dataclass(frozen=True, slots=True)
class Question:
    """What a step asks, and how it reads the reply.

    Attributes:
        turns: What is sent.
        schema: JSON Schema of the reply.
        values: What the row holds beside the reply.
        read: The reply's text → further values of the row; raises DataError ("kind: detail") for a reply to reject.
    """

    turns: Callable[[], Sequence[Turn]]
    schema: Mapping[str, Any]
    values: Mapping[str, Any]
    read: Callable[[str], Mapping[str, Any]]


def ask_missing(
    writer: Writer, wanted: Mapping[str, Question], file: StepFile, spending: Spending | None, role: str = MODEL
) -> None:
    """Ask what the step's file does not hold yet, several at once.

    Args:
        writer: The model.
        wanted: Key of a row → what to ask.
        file: The step's file.
        spending: Where calls are counted.
        role: Whose prices count.

    Raises:
        ModelError: The model cannot be loaded.
        RunError: The file cannot be written, or the budget is spent.
    """
    missing = [(key, question) for key, question in wanted.items() if file.get(key) is None]

    async def work(item: tuple[str, Question], ask: Ask) -> None:
        key, question = item
        async with _counted(spending, role, file.name, key):
            await asyncio.to_thread(file.append, await _reply(key, question, ask))

    if missing:
        ask_each(writer.reach, missing, work)


def _counted(spending: Spending | None, role: str, name: str, key: str) -> contextlib.AbstractAsyncContextManager[None]:
    return contextlib.nullcontext() if spending is None else spending.call(role, name, key)


async def _reply(key: str, question: Question, ask: Ask) -> Row:
    try:
        reply = await ask(question.turns(), max_tokens=MAX_TOKENS, schema=question.schema)
    except JudgeError as error:
        return Row(key, Status.ERROR, f"model: {error}", question.values)
    values = {**question.values, "usage": dict(reply.usage)}
    if reply.refusal is not None:
        return Row(key, Status.REJECTED, f"refused: {reply.refusal[:200]}", values)
    if reply.finish == "length":
        return Row(key, Status.REJECTED, f"cut: the reply has more than {MAX_TOKENS} tokens", values)
    try:
        return Row(key, values={**values, **question.read(reply.text)})
    except DataError as error:
        return Row(key, Status.REJECTED, str(error), values)
