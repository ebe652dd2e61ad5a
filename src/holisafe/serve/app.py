"""The whole application: keys, rates, metrics and a log around the routes."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holisafe._version import __version__
from holisafe.serve.backend import Backend
from holisafe.serve.errors import SERVER, ApiError
from holisafe.serve.keys import KeyRing
from holisafe.serve.metrics import CONTENT_TYPE, Metrics
from holisafe.serve.playground import PATH, Compared, playground
from holisafe.serve.remote import RemoteImages
from holisafe.serve.review import ReviewSample
from holisafe.serve.routes import CLIENT_GONE, router
from holisafe.serve.schema import schemas
from holisafe.serve.settings import Settings
from holisafe.serve.tracing import end_request, request_span

_LOG = logging.getLogger("holisafe.serve")

TELEMETRY: TelemetryConfig = {"tracing": False, "logs": False, "operation_spans": False, "auto_configure": False}
"""What FastAPI is told of telemetry: its metrics alone, which name routes and statuses."""

OPEN = frozenset({"/health"})
"""What needs no key."""

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names by which a browser on this machine may call a server without keys; others may be another site's."""


def application(
    backend: Backend,
    settings: Settings,
    *,
    keys: KeyRing | None = None,
    metrics: Metrics | None = None,
    remote: RemoteImages | None = None,
    review: ReviewSample | None = None,
    ui: bool = False,
    compared: Compared | None = None,
) -> FastAPI:
    """The routes with what protects and observes them.

    Args:
        backend: What answers; closed with the application.
        settings: Policy and limits.
        keys: Who may ask; without keys only requests to a loopback name are answered.
        metrics: Where to count.
        remote: Fetches images of allowed hosts.
        review: Keeps a sample of verdicts; closed with the application.
        ui: Whether there is a page to try it at `/`.
        compared: A second model that the page asks; closed with the application.

    Raises:
        RunError: There is a second model and the policy is to block.
    """
    metrics = metrics or Metrics()
    keys = keys or KeyRing()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await backend.close()
        if compared is not None:
            await compared.backend.close()
        if review is not None:
            await asyncio.to_thread(review.close)

    app = _Documented(
        title="holisafe",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _told},
        telemetry=TELEMETRY,
    )
    app.include_router(router(backend, settings, metrics=metrics, remote=remote, review=review))

    @app.get("/metrics", include_in_schema=False)
    async def read_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    if ui:
        app.include_router(playground(settings, with_keys=bool(keys.keys), compared=compared))
    is_open = OPEN | {PATH} if ui else OPEN
    app.add_middleware(Door, keys=keys, settings=settings, metrics=metrics, is_open=is_open)
    return app


class _Documented(FastAPI):
    """An application whose OpenAPI document holds the forms of all bodies."""

    def openapi(self) -> dict[str, Any]:
        """The document."""
        found = super().openapi()
        found.setdefault("components", {}).setdefault("schemas", {}).update(schemas())
        return found


class Door:
    """Lets a request in, or tells why not; counts and logs it."""

    def __init__(
        self, app: ASGIApp, *, keys: KeyRing, settings: Settings, metrics: Metrics, is_open: frozenset[str] = OPEN
    ) -> None:
        self._app = app
        self._is_open = is_open
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        facts: dict[str, Any] = {"request_id": f"req_{uuid.uuid4().hex}"}
        scope["holisafe"] = facts
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", facts["request_id"].encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        with request_span(scope) as span:
            try:
                await self._admit(scope, receive, sent, facts)
            finally:
                self._record(scope, facts, status, time.perf_counter() - began)
                end_request(span, scope["method"][:10], _route(scope), status, facts)

    async def _admit(self, scope: Scope, receive: Receive, send: Send, facts: dict[str, Any]) -> None:
        if scope["path"] in self._is_open:
            await self._app(scope, receive, send)
            return
        try:
            self._check_host(scope)
            key = self._keys.find(_header(scope, b"authorization"))
            facts["key"] = key.name
            if self._running >= self._settings.limits.concurrency:
                raise _busy()
            self._keys.enter(key)
        except ApiError as error:
            self._metrics.rejected.labels(error.code or "other").inc()
            facts["error"] = error.code
            await error.response()(scope, receive, send)
            return
        self._running += 1
        self._metrics.running.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
            self._metrics.running.dec()
            self._keys.leave(key)

    def _check_host(self, scope: Scope) -> None:
        """Without keys, a page of another site must not reach this server by a name of its own for this machine.

        Raises:
            ApiError: The request is for another host.
        """
        if self._keys.keys:
            return
        host = (_header(scope, b"host") or "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name not in LOOPBACK:
            raise ApiError(
                403, "this server answers requests to 127.0.0.1 and localhost alone", code="host_not_allowed"
            )

    def _record(self, scope: Scope, facts: dict[str, Any], status: int, seconds: float) -> None:
        route, failed = _route(scope), facts.get("failed", status)
        if status in (CLIENT_GONE, 0) or "cancelled" in facts:
            self._metrics.cancelled.inc()
        elif failed >= 400:
            self._metrics.failure.labels(str(failed)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        line = {"method": scope["method"][:10], "route": route, "status": status, "seconds": round(seconds, 4)}
        _LOG.info("request", extra={"facts": line | facts})


def _route(scope: Scope) -> str:
    """The path as the routes spell it: what a client wrote would fill metrics and logs."""
    found = scope.get("route")
    return str(getattr(found, "path", "other"))


def _header(scope: Scope, name: bytes) -> str | None:
    values: Sequence[bytes] = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if values else None


def _busy() -> ApiError:
    return ApiError(503, "the server is at its limit of requests", kind=SERVER, code="server_busy", retry_after=1)


async def _told(request: Request, error: Exception) -> Response:
    """Paths and methods that there are not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words, code = _WORDS.get(status, ("the request cannot be served", None))
    return ApiError(status, words, code=code).response()


_WORDS = {
    404: ("there is no such path", "not_found"),
    405: ("the path does not take this method", "method_not_allowed"),
}
