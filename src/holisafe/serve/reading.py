"""From a request's bytes to what the backend is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from holisafe._printable import printable
from holisafe.serve.answering import Service
from holisafe.serve.backend import Ask, ChatMessage, Picture
from holisafe.serve.errors import ApiError
from holisafe.serve.intake import read_images
from holisafe.serve.schema import ChatBody, ImagePart, Message, RefusalPart, Sampling
from holisafe.serve.settings import Limits

B = TypeVar("B", bound=BaseModel)
T = TypeVar("T")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def read_body(request: Request, kind: type[B], limits: Limits) -> B:
    """A request's body as JSON of a kind.

    Raises:
        ApiError: It is too large, too slow, no JSON, or of another form.
        ClientGoneError: The client left.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":  # also keeps pages of other sites from posting forms here
        raise ApiError(415, "expected a body of the content type application/json", code="unsupported_media_type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "compressed bodies are not read; send it as it is", code="unsupported_media_type")
    data = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limits.body:
                    raise ApiError(
                        413, f"the body has more than the {limits.body} bytes allowed", code="request_too_large"
                    )
    except TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {limits.body_seconds:g} seconds", code="request_timeout"
        ) from None
    except ClientDisconnect:
        raise ClientGoneError from None
    try:
        return kind.model_validate_json(bytes(data))
    except ValidationError as error:
        raise explained(error) from None


def explained(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body, without its values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = max(found, key=lambda each: (_depth(each["loc"], found[0]["loc"]), not each["type"].endswith("_type")))
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is not valid JSON", code="invalid_json")
    place = printable(".".join(_place(first["loc"])))[:120]
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown field: {place}", param=place, code="unknown_parameter")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return ApiError(400, f"{place or 'the body'}: {printable(first['msg'])[:200]}", param=place or None, code=code)


def _depth(where: Sequence[str | int], first: Sequence[str | int]) -> int:
    """How deep an error lies, if it is about the same field as the first one.

    Where a field may be a text or a list, each of both has an error, and that within the list says more.
    """
    place, above = _place(where), _place(first)
    return len(place) if place[: len(above)] == above else -1


def _place(where: Sequence[str | int]) -> list[str]:
    """Where an error lies, without the members of unions, which pydantic names, too, and clients do not know."""
    place = []
    for at, part in enumerate(where):
        is_kind = part == "str" or "[" in str(part)
        is_tag = part in _TAGS and at > 1 and isinstance(where[at - 1], int) and "[" in "".join(map(str, where[:at]))
        if not is_kind and not is_tag:
            place.append(str(part))
    return place


_TAGS = frozenset({"text", "image_url", "refusal", "input_text", "input_image", "output_text"})


async def until_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves. The body must have been read.

    Raises:
        ClientGoneError: The client left first.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_chat(body: ChatBody, service: Service) -> Ask:
    """What a chat asks for.

    Raises:
        ApiError: It asks for something that is not served.
    """
    check_served(body, _ONLY_BEHIND, service)
    messages = await read_messages(body.messages, service)
    name = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if not all(stop):
        raise ApiError(400, "stop: expected texts that are not empty", param="stop", code="invalid_value")
    passed_on = (*_ONLY_BEHIND, "max_completion_tokens")
    more = {key: value for key in passed_on if (value := getattr(body, key)) is not None}
    return Ask(
        messages=messages,
        max_new_tokens=new_tokens(getattr(body, name), name, service),
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        seed=body.seed,
        stop=tuple(stop),
        stream=bool(body.stream),
        more=more,
    )


_ONLY_BEHIND: Mapping[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "reasoning_effort": (),
    "verbosity": (),
}
"""Fields that only a server behind may serve, and the values that ask for nothing."""


def check_served(body: Sampling, fields: Mapping[str, tuple[Any, ...]], service: Service) -> None:
    """Refuse fields that the model of this process cannot serve.

    Raises:
        ApiError: One asks for something.
    """
    if service.backend.passes_on:
        return
    for name, idle in fields.items():
        value = getattr(body, name)
        if value is not None and value not in idle:
            raise ApiError(400, f"{name} is not supported by this model", param=name, code="unsupported_parameter")


def new_tokens(asked: int | None, name: str, service: Service) -> int | None:
    """Maximum number of new tokens; None where a server behind has a default of its own.

    Raises:
        ApiError: More are asked for than allowed.
    """
    limits = service.settings.limits
    if asked is None:
        return None if service.backend.passes_on else limits.default_new_tokens
    if asked > limits.new_tokens:
        raise ApiError(400, f"{name}: at most {limits.new_tokens} are generated", param=name, code="invalid_value")
    return asked


async def read_messages(messages: Sequence[Message], service: Service) -> tuple[ChatMessage, ...]:
    """A conversation, its images let in.

    Raises:
        ApiError: A message is malformed, or an image cannot be let in.
    """
    check_characters(sum(map(_characters, messages)), service.settings.limits)
    urls = [url for place, message in enumerate(messages) for url in _urls(message, f"messages.{place}")]
    refs = iter(await read_images(urls, service.settings.limits, service.remote))
    read = []
    for message in messages:
        parts: list[str | Picture] = []
        for part in [message.content] if isinstance(message.content, str) else message.content or []:
            if isinstance(part, ImagePart):
                parts.append(Picture(next(refs), part.image_url.detail))
            else:
                parts.append(part if isinstance(part, str) else _text(part))
        if message.refusal and not parts:
            parts.append(message.refusal)
        more = {key: value for key in _OF_MESSAGE if (value := getattr(message, key))}
        read.append(ChatMessage(message.role, tuple(parts), more))
    return tuple(read)


_OF_MESSAGE = ("name", "tool_calls", "tool_call_id")


def check_characters(characters: int, limits: Limits) -> None:
    """Refuse a request with more text than allowed.

    Raises:
        ApiError: It has.
    """
    if characters > limits.characters:
        raise ApiError(
            400,
            f"the texts have more than the {limits.characters} characters allowed",
            param="messages",
            code="context_length_exceeded",
        )


def _characters(message: Message) -> int:
    if message.content is None or isinstance(message.content, str):
        return len(message.content or "")
    return sum(len(_text(part)) for part in message.content if not isinstance(part, ImagePart))


def _text(part: Any) -> str:
    return str(part.refusal if isinstance(part, RefusalPart) else part.text)


def _urls(message: Message, place: str) -> list[tuple[str, str]]:
    if message.content is None or isinstance(message.content, str):
        return []
    found = [
        (f"{place}.content.{at}", p.image_url.url) for at, p in enumerate(message.content) if isinstance(p, ImagePart)
    ]
    if found and message.role != "user":
        raise ApiError(
            400, "images are read in messages of the user alone", param=found[0][0], code="unsupported_value"
        )
    return found
