"""`POST /v1/responses`, for texts and images; nothing is stored."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holisafe.serve.answering import Answering, Service, Wish
from holisafe.serve.backend import Ask, ChatMessage, Delta, Finished, Picture
from holisafe.serve.errors import ApiError
from holisafe.serve.intake import read_images
from holisafe.serve.moderation import moderation_result
from holisafe.serve.reading import check_characters, new_tokens, read_body, until_gone
from holisafe.serve.schema import InputImage, OutputRefusal, ResponseItem, ResponsesBody
from holisafe.serve.stream import EventStreamResponse, facts_of


async def create_response(request: Request, service: Service) -> Response:
    """Answer, whole or as a stream.

    Raises:
        ApiError: It cannot be answered.
    """
    body = await read_body(request, ResponsesBody, service.settings.limits)
    return await until_gone(request, _respond(body, service, facts_of(request)))


async def _respond(body: ResponsesBody, service: Service, facts: dict[str, Any]) -> Response:
    model = await service.model(body.model)
    wish = await Wish.of(body.moderation, service)
    ask = await _read(body, service)
    answering = await Answering.begin(service, ask, model, wish, facts)
    if service.settings.log_content:
        facts["prompt"] = [message.text for message in ask.messages]
    written = _Written(answering, model)
    if ask.stream:
        return EventStreamResponse(written.events(), facts, answering.close, named=True)
    async for _ in written.events():
        pass
    return JSONResponse(written.without_stopped())


async def _read(body: ResponsesBody, service: Service) -> Ask:
    for name in ("tools", "include"):
        if getattr(body, name):
            raise ApiError(
                400, f"{name}: not supported here; use /v1/chat/completions", param=name, code="unsupported_parameter"
            )
    if body.text is not None and body.text.format not in (None, {"type": "text"}):
        raise ApiError(
            400, "text.format: only text is answered here", param="text.format", code="unsupported_parameter"
        )
    items = body.input
    if isinstance(items, str):
        messages = [ChatMessage("user", (items,))]
        check_characters(len(items), service.settings.limits)
    else:
        messages = await _read_items(items, service)
    if body.instructions:
        messages.insert(0, ChatMessage("system", (body.instructions,)))
    return Ask(
        messages=tuple(messages),
        max_new_tokens=new_tokens(body.max_output_tokens, "max_output_tokens", service),
        temperature=body.temperature,
        top_p=body.top_p,
        stream=bool(body.stream),
    )


async def _read_items(items: list[ResponseItem], service: Service) -> list[ChatMessage]:
    texts = [_text(part) for item in items for part in _parts(item) if not isinstance(part, InputImage)]
    check_characters(sum(map(len, texts)), service.settings.limits)
    urls = [
        (f"input.{place}.content.{at}", part.image_url)
        for place, item in enumerate(items)
        for at, part in enumerate(_parts(item))
        if isinstance(part, InputImage)
    ]
    for place, item in enumerate(items):
        if item.role != "user" and any(isinstance(part, InputImage) for part in _parts(item)):
            raise ApiError(
                400, "images are read in messages of the user alone", param=f"input.{place}", code="unsupported_value"
            )
    refs = iter(await read_images(urls, service.settings.limits, service.remote))
    return [
        ChatMessage(
            item.role,
            tuple(
                Picture(next(refs), part.detail) if isinstance(part, InputImage) else _text(part)
                for part in _parts(item)
            ),
        )
        for item in items
    ]


def _parts(item: ResponseItem) -> list[Any]:
    return [item.content] if isinstance(item.content, str) else list(item.content)


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    return str(part.refusal if isinstance(part, OutputRefusal) else part.text)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Text or refusal: how its events and its field are called."""

    event: str
    field: str

    @property
    def more(self) -> dict[str, Any]:
        """Further fields of its events."""
        return {"logprobs": []} if self.field == "text" else {}

    def part(self, text: str) -> dict[str, Any]:
        """The part of a message."""
        more: dict[str, Any] = {"annotations": [], "logprobs": []} if self.field == "text" else {}
        return {"type": self.event, self.field: text, **more}


_TEXT, _REFUSAL = _Kind("output_text", "text"), _Kind("refusal", "refusal")


class _Written:
    """A response while it is written."""

    def __init__(self, answering: Answering, model: str) -> None:
        self._answering = answering
        self._about = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
        }
        self._item = f"msg_{uuid.uuid4().hex}"
        self._parts: list[_Kind] = []
        self._said = {_TEXT: "", _REFUSAL: ""}
        self._end: Finished | None = None
        self._sequence = 0

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """The stream's events, in the order of the Responses API."""
        yield self._event("response.created", response=self.response())
        yield self._event("response.in_progress", response=self.response())
        yield self._event("response.output_item.added", output_index=0, item=self._message("in_progress", []))
        if self._answering.refusal is None:
            yield self._opened(_TEXT)
        async with aclosing(self._answering.events()) as events:
            async for event in events:
                if isinstance(event, Finished):
                    self._end = event
                    continue
                kind = _REFUSAL if event.fields.get("refusal") else _TEXT
                if self._parts[-1:] != [kind]:  # the answer was stopped, or there is none
                    for each in self._closed():
                        yield each
                    yield self._opened(kind)
                piece = _piece(event)
                self._said[kind] += piece
                yield self._event(f"response.{kind.event}.delta", **self._place, delta=piece, **kind.more)
        for each in self._closed():
            yield each
        item = self._message(self._status, self._content())
        yield self._event("response.output_item.done", output_index=0, item=item)
        if self._answering.service.settings.log_content:
            self._answering.facts["answer"] = "".join(self._said.values())
        yield self._event(f"response.{self._status}", response=self.response())

    def response(self) -> dict[str, Any]:
        """The response so far."""
        end = self._end
        output = [] if end is None else [self._message(self._status, self._content())]
        reason = {"length": "max_output_tokens"}.get(end.reason, "content_filter") if end else ""
        return {
            **self._about,
            "status": self._status,
            "error": None,
            "incomplete_details": {"reason": reason} if self._status == "incomplete" else None,
            "instructions": None,
            "metadata": {},
            "output": output,
            "parallel_tool_calls": False,
            "tool_choice": "none",
            "tools": [],
            "temperature": None,
            "top_p": None,
            "store": False,
            "usage": None if end is None else _usage(end),
            "moderation": self._answering.moderation(moderation_result),
            **self._answering.safety(),
            **self._answering.answer_safety(),
        }

    def without_stopped(self) -> dict[str, Any]:
        """The response in one piece: of an answer that was stopped, the refusal alone."""
        if _REFUSAL in self._parts:
            self._parts = [_REFUSAL]
        return self.response()

    @property
    def _place(self) -> dict[str, Any]:
        """Where the latest part stands."""
        return {"item_id": self._item, "output_index": 0, "content_index": len(self._parts) - 1}

    def _opened(self, kind: _Kind) -> dict[str, Any]:
        self._parts.append(kind)
        return self._event("response.content_part.added", **self._place, part=kind.part(""))

    def _closed(self) -> list[dict[str, Any]]:
        """The events that end the latest part, if there is one."""
        if not self._parts:
            return []
        kind = self._parts[-1]
        text = self._said[kind]
        return [
            self._event(f"response.{kind.event}.done", **self._place, **{kind.field: text}, **kind.more),
            self._event("response.content_part.done", **self._place, part=kind.part(text)),
        ]

    def _content(self) -> list[dict[str, Any]]:
        return [kind.part(self._said[kind]) for kind in self._parts]

    @property
    def _status(self) -> str:
        if self._end is None:
            return "in_progress"
        return "incomplete" if self._end.reason in ("length", "content_filter") else "completed"

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._sequence += 1
        return {"type": kind, "sequence_number": self._sequence - 1, **fields}

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._item, "type": "message", "role": "assistant", "status": status, "content": content}


def _piece(event: Delta) -> str:
    return "".join(value for key in ("content", "refusal") if isinstance(value := event.fields.get(key), str))


def _usage(end: Finished) -> dict[str, Any]:
    return {
        "input_tokens": end.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": end.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": end.input_tokens + end.output_tokens,
    }
