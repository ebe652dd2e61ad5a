"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holisafe.serve.answering import Answering, Service, Wish
from holisafe.serve.backend import Delta, Finished
from holisafe.serve.moderation import moderation_results
from holisafe.serve.reading import read_body, read_chat, until_gone
from holisafe.serve.schema import ChatBody
from holisafe.serve.stream import EventStreamResponse, facts_of


async def chat_completions(request: Request, service: Service) -> Response:
    """Answer a chat, whole or as a stream.

    Raises:
        ApiError: It cannot be answered.
    """
    body = await read_body(request, ChatBody, service.settings.limits)
    return await until_gone(request, _respond(body, service, facts_of(request)))


async def _respond(body: ChatBody, service: Service, facts: dict[str, Any]) -> Response:
    model = await service.model(body.model)
    wish = await Wish.of(body.moderation, service)
    ask = await read_chat(body, service)
    answering = await Answering.begin(service, ask, model, wish, facts)
    if service.settings.log_content:
        facts["prompt"] = [message.text for message in ask.messages]
    about = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
    if ask.stream:
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        return EventStreamResponse(_chunks(answering, about, usage), facts, answering.close)
    return await _whole(answering, about)


async def _whole(answering: Answering, about: dict[str, Any]) -> Response:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    logprobs: Any = None
    end = Finished("stop", 0, 0)
    async for event in answering.events():
        if isinstance(event, Finished):
            end = event
            continue
        _add(message, event)
        logprobs = logprobs or event.logprobs
    if message["refusal"] is not None and answering.judges_output:
        message["content"] = None  # of an answer that was stopped nothing is shown
    if message["content"] is None and message["refusal"] is None and "tool_calls" not in message:
        message["content"] = ""
    if answering.service.settings.log_content:
        answering.facts["answer"] = message["content"]
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": end.reason}
    return JSONResponse(
        {
            **about,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage_of(end),
            "moderation": answering.moderation(moderation_results),
            **answering.safety(),
            **answering.answer_safety(),
        }
    )


def _add(message: dict[str, Any], delta: Delta) -> None:
    """Texts are joined, lists extended; anything else is set."""
    for key, value in delta.fields.items():
        known = message.get(key)
        is_text = isinstance(value, str) and isinstance(known, str) and key != "role"
        is_list = isinstance(value, list) and isinstance(known, list)
        if is_text or is_list:
            message[key] = known + value
        elif value is not None:
            message[key] = value


async def _chunks(answering: Answering, about: dict[str, Any], with_usage: bool) -> AsyncGenerator[dict[str, Any]]:
    """The stream: the verdict before the first piece of the answer; that on the answer, then the usage, at its end."""
    base = {**about, "object": "chat.completion.chunk", **({"usage": None} if with_usage else {})}
    verdict = {"moderation": answering.moderation(moderation_results), **answering.safety()}
    opening = _choice({"role": "assistant", "content": None if answering.refusal else ""})
    if answering.wish.is_asked:
        yield {**base, "choices": [], **verdict}
        yield {**base, "choices": [opening]}
    else:
        yield {**base, "choices": [opening], **verdict}
    said = []
    async with aclosing(answering.events()) as events:
        async for event in events:
            if isinstance(event, Delta):
                fields = {key: value for key, value in event.fields.items() if key != "role"}
                said.append(str(fields.get("content") or ""))
                yield {**base, "choices": [_choice(fields, logprobs=event.logprobs)]}
                continue
            if answering.service.settings.log_content:
                answering.facts["answer"] = "".join(said)
            yield {**base, "choices": [_choice({}, event.reason)], **_of_output(answering)}
            if with_usage:
                yield {**base, "choices": [], "usage": usage_of(event)}


def _of_output(answering: Answering) -> dict[str, Any]:
    """What the guard says of the answer, in its last chunk; nothing where it was not judged."""
    if answering.output is None:
        return {}
    return {"moderation": answering.moderation(moderation_results), **answering.answer_safety()}


def _choice(delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


def usage_of(end: Finished) -> dict[str, int]:
    """Tokens, by the names of chat completions."""
    return {
        "prompt_tokens": end.input_tokens,
        "completion_tokens": end.output_tokens,
        "total_tokens": end.input_tokens + end.output_tokens,
    }
