"""An application in this process, reached as a server is: what it writes is read while it writes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import anyio
import httpx
from starlette.types import ASGIApp

_WAITING = 16
"""Pieces of an answer that are kept for a slow reader."""


class AppTransport(httpx.AsyncBaseTransport):
    """Lets an HTTP client ask an ASGI application.

    Unlike httpx's own, it gives an answer that is a stream piece by piece, and closing the answer ends the work on it.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask.

        Raises:
            httpx.ConnectError: The application failed before it answered.
        """
        exchange = _Exchange(await request.aread())
        work = asyncio.create_task(exchange.run(self._app, _scope(request)))
        try:
            status, headers = await exchange.started
        except BaseException as error:
            work.cancel()
            if isinstance(error, Exception):
                raise httpx.ConnectError(f"the application failed ({type(error).__name__})") from error
            raise
        return httpx.Response(status, headers=headers, stream=_Body(exchange, work))


class _Exchange:
    """One request and its answer, by ASGI's messages."""

    def __init__(self, body: bytes) -> None:
        self.started: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.get_running_loop().create_future()
        self.pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(_WAITING)
        self.is_left = asyncio.Event()
        self._body: bytes | None = body

    async def run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        end: Exception | None = None
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            end = error
        if not self.started.done():
            self.started.set_exception(end or RuntimeError("it sent no answer"))
        else:
            await self.pieces.put(end)

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.is_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started.set_result((message["status"], list(message.get("headers", ()))))
        elif message["type"] == "http.response.body" and message.get("body"):
            await self.pieces.put(message["body"])


class _Body(httpx.AsyncByteStream):
    """The answer, as it is written."""

    def __init__(self, exchange: _Exchange, work: asyncio.Task[None]) -> None:
        self._exchange = exchange
        self._work = work

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._exchange.pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise httpx.ReadError(f"the application failed ({type(piece).__name__})") from piece
            yield piece

    async def aclose(self) -> None:
        self._exchange.is_left.set()
        self._work.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._work])  # which, unlike gather, does not cancel it again


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(key.lower(), value) for key, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port or 80),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
