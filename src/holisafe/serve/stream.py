"""Server-sent events: written until the answer ends, an error is told, or the client leaves."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from holisafe.serve.errors import ApiError, internal
from holisafe.serve.logs import log_failure

_LOG = logging.getLogger("holisafe.serve")


def facts_of(request: Request) -> dict[str, Any]:
    """What the log will say of a request; routes add to it."""
    facts: dict[str, Any] = request.scope.setdefault("holisafe", {})
    return facts


class EventStreamResponse(StreamingResponse):
    """A stream of JSON objects, ended by `[DONE]`.

    An error within the stream is told as an object with `error`, and ends it without `[DONE]`; its status is the fact
    `failed`, since the stream's own has been sent. A client that leaves
    closes the events, and with them the answer.

    Args:
        events: The objects; those of the Responses API are named by their `type`.
        facts: What the log says of the request.
        close: Ends the answer, whether or not its events were taken.
        named: Whether events have names.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[dict[str, Any]],
        facts: dict[str, Any],
        close: Callable[[], Awaitable[None]],
        *,
        named: bool = False,
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self._lines = _written(events, facts, named)
        self._close = close
        facts["cancelled"] = True  # until its end has been written
        super().__init__(self._lines, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._lines.aclose()
            await self._close()


async def _written(events: AsyncGenerator[dict[str, Any]], facts: dict[str, Any], named: bool) -> AsyncGenerator[bytes]:
    async with aclosing(events):
        try:
            async for event in events:
                yield _line(event, named)
            if not named:
                yield b"data: [DONE]\n\n"
        except ApiError as error:
            facts.update(error=error.code, failed=error.status)
            yield _line(error.to_json(), False)
        except Exception as error:
            log_failure(_LOG, error, facts)
            facts["failed"] = internal().status
            yield _line(internal().to_json(), False)
        facts.pop("cancelled", None)


def _line(event: dict[str, Any], named: bool) -> bytes:
    name = f"event: {event['type']}\n" if named else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
