"""The model of this process: batched answers, with the verdict from their own prefill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from jinja2 import TemplateError

from holisafe.errors import ContextError, GuardError, HoliSafeError, ImageError, ModelError
from holisafe.guard import guard_of, refusal_of_answer
from holisafe.models import (
    Answer,
    Engine,
    FinishEvent,
    FinishReason,
    GenerationOptions,
    OutputEvent,
    OutputGuard,
    OutputMode,
    Prompt,
    Request,
    TokenEvent,
)
from holisafe.models import VerdictEvent as EngineVerdict
from holisafe.records import GuardVerdict, Role, Turn
from holisafe.serve.backend import Ask, ChatMessage, Delta, Event, Finished, Judged, OutputJudged
from holisafe.serve.errors import ApiError, guard_unavailable, internal
from holisafe.serve.intake import damaged_image
from holisafe.serve.metrics import Metrics

EngineEvent = EngineVerdict | OutputEvent | TokenEvent | FinishEvent

LEAST_TEMPERATURE = 0.01
"""Below it sampling is greedy in all but name, and dividing logits by it loses precision."""


class EngineBackend:
    """Answers with a guarded model.

    Args:
        engine: The model at work; closed with the backend.
        name: The name by which clients ask for it.

    Raises:
        GuardError: The model has no guard.
    """

    passes_on = False

    def __init__(self, engine: Engine, name: str) -> None:
        config = guard_of(engine.model).config
        self._engine = engine
        self._name = name
        self.judges_text = config.joint_head
        self.judges_output = config.output_head

    def count_in(self, metrics: Metrics) -> None:
        """Nothing of its own is counted."""

    async def models(self) -> Sequence[str]:
        """The model's name."""
        return [self._name]

    async def judge(self, messages: Sequence[ChatMessage]) -> GuardVerdict:
        """A prefill and one token."""
        answer = self._events(Request(_prompt(messages), GenerationOptions(max_new_tokens=1)))
        try:
            async for event in answer:
                if isinstance(event, EngineVerdict):
                    asks = any(message.text.strip() for message in messages)
                    seen = GuardVerdict(event.verdict.images)
                    return seen if seen.images and not asks else event.verdict  # no question, no request verdict
        finally:
            await answer.aclose()
        raise guard_unavailable()

    async def answer(self, ask: Ask, model: str) -> AsyncGenerator[Event]:
        """The verdict, then the answer, token by token, with what the guard says of it on the way."""
        output = None if ask.output is None else OutputGuard(OutputMode(ask.output), ask.output_every)
        answer = self._events(Request(_prompt(ask.messages), _options(ask), output=output))
        is_blocked = False
        try:
            async for event in answer:
                if isinstance(event, EngineVerdict):
                    yield Judged(event.verdict, event.input_tokens)
                elif isinstance(event, OutputEvent):
                    is_blocked = event.blocked
                    yield OutputJudged(event.verdict, refusal_of_answer(event.verdict) if is_blocked else None)
                elif isinstance(event, TokenEvent):
                    if not is_blocked:  # else it is the refusal, which has its own field
                        yield Delta({"content": event.text})
                else:
                    yield _finished(event.answer)
        finally:
            await answer.aclose()

    @classmethod
    def unguarded(cls, engine: Engine, name: str) -> EngineBackend:
        """A backend whose verdicts are empty, for a model that is only shown beside a guarded one."""
        backend = cls.__new__(cls)
        backend._engine, backend._name = engine, name
        backend.judges_text = backend.judges_output = False
        return backend

    async def close(self) -> None:
        """Stop the engine."""
        await asyncio.to_thread(self._engine.close)

    async def _events(self, request: Request) -> AsyncGenerator[EngineEvent]:
        """The engine's events in this event loop."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Any] = asyncio.Queue()

        def deliver(event: object) -> None:
            with suppress(RuntimeError):  # the event loop is closed, so nobody waits
                loop.call_soon_threadsafe(events.put_nowait, event)

        try:
            end = self._engine.listen(request, deliver)
        except ModelError as error:
            raise _explained(error) from error
        try:
            while True:
                event = await events.get()
                if isinstance(event, BaseException):
                    raise _explained(event) from event
                yield event
                if isinstance(event, FinishEvent):
                    return
        finally:
            end()


def _finished(answer: Answer) -> Finished:
    checks = () if answer.output is None else answer.output.checks
    if answer.finish_reason is FinishReason.BLOCKED:
        return Finished("content_filter", answer.input_tokens, checks[-1].tokens)
    reason = "length" if answer.finish_reason is FinishReason.LENGTH else "stop"
    return Finished(reason, answer.input_tokens, len(answer.tokens))


def _prompt(messages: Sequence[ChatMessage]) -> Prompt:
    """The conversation as the engine takes it: the images of a message stand before its text.

    Raises:
        ApiError: It has no such form.
    """
    turns = []
    for place, message in enumerate(messages):
        if message.role == "tool" or message.more.get("tool_calls"):
            raise ApiError(400, "this model calls no tools", param=f"messages.{place}", code="unsupported_value")
        role = Role.SYSTEM if message.role == "developer" else Role(message.role)
        turns.append(Turn(role, message.text, tuple(picture.ref for picture in message.pictures)))
    if turns[-1].role is not Role.USER:
        raise ApiError(
            400, "the last message must be the user's", param=f"messages.{len(turns) - 1}.role", code="invalid_value"
        )
    return Prompt(tuple(turns))


def _options(ask: Ask) -> GenerationOptions:
    temperature = ask.temperature or 0.0
    return GenerationOptions(
        max_new_tokens=ask.max_new_tokens or GenerationOptions().max_new_tokens,
        temperature=max(temperature, LEAST_TEMPERATURE) if temperature else 0.0,
        top_p=1.0 if ask.top_p is None else ask.top_p,
        top_k=max(0, ask.top_k or 0),
        seed=None if ask.seed is None else ask.seed % 2**63,
        stop=ask.stop,
    )


def _explained(error: BaseException) -> HoliSafeError:
    """What a client is told of an error of the engine."""
    if isinstance(error, ContextError):
        return ApiError(
            400,
            "the request is longer than the model's context; shorten it or send fewer images",
            param="messages",
            code="context_length_exceeded",
        )
    if isinstance(error, ImageError):
        return damaged_image()
    if isinstance(error, GuardError):
        return guard_unavailable()
    if isinstance(error.__cause__, TemplateError):
        return ApiError(
            400,
            "the model's chat template does not take this conversation; let user and assistant take turns",
            param="messages",
            code="invalid_value",
        )
    return internal()
