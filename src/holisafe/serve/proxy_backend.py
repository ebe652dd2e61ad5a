"""Another server's model, with a guard in front of it.

The guard judges the images, and the request too where an engine gives hidden states. The server behind is sent of
images the bytes that are judged, never an address. Where a flag would hold the answer back it is asked once the verdict
is known, else while the guard judges, as soon as the images are known to be images.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from holisafe.errors import GuardError, ImageError
from holisafe.images import open_image
from holisafe.records import GuardVerdict, ImageRef
from holisafe.serve.backend import Ask, ChatMessage, Event, Judged, Picture, images_of
from holisafe.serve.errors import ApiError, guard_unavailable
from holisafe.serve.image_guard import ImageGuard
from holisafe.serve.intake import damaged_image
from holisafe.serve.metrics import Metrics
from holisafe.serve.own_task import in_own_task
from holisafe.serve.upstream import Upstream

if TYPE_CHECKING:
    from holisafe.serve.states import RequestGuard

MODELS_FOR = 60.0
"""Seconds for which the list of models of the server behind is kept."""


class ProxyBackend:
    """Judges images here, and lets another server answer.

    Args:
        upstream: The server behind.
        guard: Judges images.
        model: The one model to serve; all that the server behind lists when None.
        requests: Judges text and images together; None where nothing does.
    """

    judges_output = False
    passes_on = True

    def __init__(
        self, upstream: Upstream, guard: ImageGuard, *, model: str | None = None, requests: RequestGuard | None = None
    ) -> None:
        self.judges_text = requests is not None
        self._upstream = upstream
        self._guard = guard
        self._requests = requests
        self._listed: tuple[float, tuple[str, ...]] | None = None
        self._only = model

    def count_in(self, metrics: Metrics) -> None:
        """Count there what happens from now on."""
        self._guard.metrics = self._upstream.metrics = metrics

    async def models(self) -> Sequence[str]:
        """The names that the server behind lists.

        Raises:
            ApiError: It does not answer, or lists none.
        """
        if self._only is not None:
            return (self._only,)
        now = time.monotonic()
        if self._listed is None or now - self._listed[0] > MODELS_FOR:
            self._listed = (now, await self._upstream.models())
        return self._listed[1]

    async def judge(self, messages: Sequence[ChatMessage]) -> GuardVerdict:
        """Verdicts on the images, and on the request where there is a text and something that judges it."""
        asks = any(message.text.strip() for message in messages)
        try:
            images = tuple(await self._guard.judge(images_of(messages)))
            if self._requests is None or not asks:
                return GuardVerdict(images)
            return GuardVerdict(images, await self._requests.judge(messages))
        except ImageError:
            raise damaged_image() from None
        except GuardError:
            raise guard_unavailable() from None

    async def answer(self, ask: Ask, model: str) -> AsyncGenerator[Event]:
        """The verdict, then what the server behind answers."""
        if not ask.ahead:
            yield await self._judged(ask)
        async with in_own_task(self._answered(ask, model)) as events:
            if ask.ahead:
                yield await self._judged(ask)
            async for event in events:
                yield event

    async def _judged(self, ask: Ask) -> Judged:
        try:
            return Judged(await self.judge(ask.messages))
        except ApiError as error:
            if error.code != "guard_unavailable":
                raise
            return Judged(None)

    async def _answered(self, ask: Ask, model: str) -> AsyncGenerator[Event]:
        """What the server behind answers."""
        body = await asyncio.to_thread(_body, ask, model)
        if ask.stream:
            async with aclosing(self._upstream.stream(body, model)) as events:
                async for event in events:
                    yield event
            return
        for event in await self._upstream.complete(body, model):
            yield event

    async def close(self) -> None:
        """Close connections and threads."""
        self._guard.close()
        if self._requests is not None:
            await self._requests.close()
        await self._upstream.close()


def _body(ask: Ask, model: str) -> bytes:
    """The request as the server behind gets it.

    Raises:
        ApiError: It holds numbers that JSON cannot, or an image that cannot be decoded and was not judged yet.
    """
    if ask.ahead:
        _check_decoded(ask.images)
    fields: dict[str, Any] = {
        **ask.more,
        "model": model,
        "messages": [message_as_sent(message) for message in ask.messages],
        "max_tokens": None if "max_completion_tokens" in ask.more else ask.max_new_tokens,
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "top_k": ask.top_k,
        "seed": ask.seed,
        "stop": list(ask.stop) or None,
    }
    if ask.stream:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        return json.dumps({key: value for key, value in fields.items() if value is not None}, allow_nan=False).encode()
    except ValueError:
        raise ApiError(400, "the request holds a number that is none in JSON", code="invalid_value") from None


def _check_decoded(images: Sequence[ImageRef]) -> None:
    """Keep images that are damaged from the server behind."""
    try:
        for image in images:
            open_image(image)
    except ImageError:
        raise damaged_image() from None


def message_as_sent(message: ChatMessage) -> Mapping[str, Any]:
    """A message as a server behind gets it, of images the bytes that were judged."""
    if not message.pictures:
        content: Any = message.text if message.parts else None
    else:
        content = [_picture(part) if isinstance(part, Picture) else _text(part) for part in message.parts]
    return {"role": message.role, "content": content, **message.more}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _picture(picture: Picture) -> dict[str, Any]:
    kind, data = judged_bytes(picture.ref)
    url = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    detail = {} if picture.detail is None else {"detail": picture.detail}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


def judged_bytes(image: ImageRef) -> tuple[str, bytes]:
    """Format and bytes of what was judged.

    Of an animation the guard has seen the first frame, and another decoder may show another one: it is sent on as a
    PNG of that frame.
    """
    data = image.data or b""
    if data.startswith(b"\xff\xd8"):
        return "jpeg", data
    if data.startswith(b"\x89PNG") and b"acTL" not in data:
        return "png", data
    if data[8:12] == b"WEBP" and b"ANIM" not in data:
        return "webp", data
    frame = io.BytesIO()
    open_image(image).save(frame, "PNG")
    return "png", frame.getvalue()
