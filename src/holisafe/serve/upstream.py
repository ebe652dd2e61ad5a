"""The server behind a proxy: asked over HTTP, believed in nothing.

Its words never reach a client, since an error of its own may repeat addresses or a decoder's message.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, NoReturn

import httpx

from holisafe._checks import is_http
from holisafe.errors import RunError
from holisafe.serve.backend import Delta, Event, Finished
from holisafe.serve.errors import SERVER, ApiError
from holisafe.serve.metrics import Metrics
from holisafe.serve.own_task import in_own_task

_LOG = logging.getLogger("holisafe.serve")
KEPT_IDLE = 2.0
"""Seconds for which an idle connection is kept: less than servers wait, which would close it as it is used again."""
LONGEST = 16 * 2**20
"""Bytes of a line of its stream, or of a whole answer."""
MOST_TOKENS = 2**53
"""A count of tokens above it is not believed."""


class Upstream:
    """A server that speaks OpenAI's API.

    Args:
        url: Its base, such as "http://127.0.0.1:8000/v1".
        api_key: Its key; None for none.
        seconds: Longest wait for its next bytes.
        connections: Connections at once.
        transport: How it is reached, where that is not the network.

    Raises:
        RunError: The address is none of HTTP.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        seconds: float = 120.0,
        connections: int = 256,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not is_http(url):
            raise RunError(f"--upstream {url}: expected an address such as http://127.0.0.1:8000/v1")
        self._base = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(seconds, connect=5.0),
            limits=httpx.Limits(max_connections=connections, keepalive_expiry=KEPT_IDLE),
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )
        self.metrics: Metrics | None = None

    async def models(self) -> tuple[str, ...]:
        """The models it lists.

        Raises:
            ApiError: It does not answer, or lists none.
        """
        found = await self._json("GET", "/models", b"")
        listed = found.get("data")
        names = [each.get("id") for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        named = tuple(name for name in names if isinstance(name, str))
        if not named:
            raise self._failed("malformed", "it lists no models")
        return named

    async def complete(self, body: bytes, model: str) -> list[Event]:
        """A whole answer.

        Raises:
            ApiError: There is none.
        """
        found = await self._json("POST", "/chat/completions", body)
        self._check_model(found, model)
        choice = self._choice(found)
        message = choice.get("message") if choice else None
        if choice is None or not isinstance(message, dict):
            raise self._failed("malformed", "it sent no choice")
        fields = {key: value for key, value in message.items() if key != "role"}
        return [Delta(fields, choice.get("logprobs")), _finished(choice.get("finish_reason"), found.get("usage"))]

    async def stream(self, body: bytes, model: str) -> AsyncGenerator[Event]:
        """An answer as it is generated; closing it closes the connection.

        Raises:
            ApiError: It could not be had, or broke off.
        """
        reason: str | None = None
        usage: Any = None
        checks = True
        async with aclosing(self._objects(body)) as objects:
            async for found in objects:
                if checks:
                    self._check_model(found, model)
                    checks = False
                usage = found.get("usage") or usage
                choice = self._choice(found)
                if choice is None:
                    continue
                delta = choice.get("delta")
                if isinstance(delta, dict) and any(
                    value not in (None, "", []) for key, value in delta.items() if key != "role"
                ):
                    yield Delta(delta, choice.get("logprobs"))
                if isinstance(choice.get("finish_reason"), str):
                    reason = choice["finish_reason"]
        if reason is None:
            raise self._failed("truncated", "its stream ended before the answer did")
        yield _finished(reason, usage)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers to an object, at a path such as "/embeddings".

        Raises:
            ApiError: It answers with no JSON object.
        """
        return await self._json("POST", path, json.dumps(body).encode())

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _json(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        data = bytearray()
        async with in_own_task(self._chunks(method, path, body)) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > LONGEST:
                    raise self._failed("malformed", "its answer is too long")
        return self._object(bytes(data))

    async def _chunks(self, method: str, path: str, body: bytes) -> AsyncGenerator[bytes]:
        """The bytes of its answer."""
        try:
            async with self._sent(method, self._base + path, body) as reply:
                self._check_status(reply)
                async for chunk in reply.aiter_bytes():
                    yield chunk
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    async def _objects(self, body: bytes) -> AsyncGenerator[dict[str, Any]]:
        """The objects of its stream."""
        url = f"{self._base}/chat/completions"
        try:
            async with self._sent("POST", url, body) as reply:
                self._check_status(reply)
                if not reply.headers.get("content-type", "").lower().startswith("text/event-stream"):
                    raise self._failed("malformed", "it sent no event stream")
                async for line in self._lines(reply):
                    if not line.startswith(b"data:"):
                        continue
                    data = line[5:].strip()
                    if data == b"[DONE]":
                        return
                    yield self._object(data)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    @asynccontextmanager
    async def _sent(self, method: str, url: str, body: bytes) -> AsyncIterator[httpx.Response]:
        """Its reply, not yet read; sent once more where the connection ended before a byte of it came."""
        for attempt in range(2):
            request = self._client.build_request(method, url, content=body, headers=self._headers)
            try:
                reply = await self._client.send(request, stream=True)
            except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout):
                if attempt:
                    raise
                continue
            try:
                yield reply
            finally:
                await reply.aclose()
            return

    async def _lines(self, reply: httpx.Response) -> AsyncIterator[bytes]:
        """Lines of a stream; only LF, CR LF end one, since JSON may hold other separators."""
        kept = b""
        async for chunk in reply.aiter_bytes():
            *whole, kept = (kept + chunk).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r")
            if len(kept) > LONGEST:
                raise self._failed("malformed", "a line of its stream is too long")
        if kept:
            yield kept

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data, parse_constant=_refused, parse_float=_finite)
            if b"\\ud" in data.lower():  # half of a surrogate pair, which UTF-8 cannot hold
                json.dumps(found, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._failed("malformed", "it sent something else than a JSON object")
        if found.get("error"):
            raise self._failed("error", "it reported an error")
        return found

    def _choice(self, found: Mapping[str, Any]) -> dict[str, Any] | None:
        choices = found.get("choices")
        if not isinstance(choices, list) or not all(isinstance(each, dict) for each in choices):
            raise self._failed("malformed", "it sent no choices")
        return choices[0] if choices else None

    def _check_model(self, found: Mapping[str, Any], model: str) -> None:
        """Count answers that name another model; hosted APIs name the dated one behind an alias."""
        if found.get("model") not in (None, "", model):
            if self.metrics is not None:
                self.metrics.other_model.inc()
            _LOG.warning("upstream names another model than it was asked for")

    def _check_status(self, reply: httpx.Response) -> None:
        status = reply.status_code
        if status == 200:
            return
        if status == 429:
            self._count("rate_limited")
            wait = reply.headers.get("retry-after", "")
            raise ApiError(
                429,
                "the server behind has too many requests",
                kind="rate_limit_error",
                code="upstream_rate_limited",
                retry_after=min(float(wait), 3600) if wait.isascii() and wait.isdigit() else 1,
            )
        if status in (400, 413, 422):
            self._count("refused")
            raise ApiError(400, "the server behind does not take this request", code="upstream_refused")
        raise self._failed("status", "it answered with an unexpected status")

    def _unreachable(self, error: httpx.HTTPError) -> ApiError:
        if isinstance(error, httpx.TimeoutException):
            self._count("timeout")
            return ApiError(504, "the server behind did not answer in time", kind=SERVER, code="upstream_timeout")
        self._count("unreachable")
        return ApiError(
            502, "the server behind cannot be reached", kind=SERVER, code="upstream_unreachable", retry_after=5
        )

    def _failed(self, kind: str, why: str) -> ApiError:
        self._count(kind)
        return ApiError(502, f"the server behind failed: {why}", kind=SERVER, code="upstream_error")

    def _count(self, kind: str) -> None:
        if self.metrics is not None:
            self.metrics.upstream_errors.labels(kind).inc()


def _finished(reason: Any, usage: Any) -> Finished:
    counts = usage if isinstance(usage, dict) else {}
    found = [counts.get(name) for name in ("prompt_tokens", "completion_tokens")]
    read, written = (each if type(each) is int and 0 <= each <= MOST_TOKENS else 0 for each in found)
    return Finished(reason if isinstance(reason, str) else "stop", read, written)


def _finite(text: str) -> float:
    """A number that JSON can hold, and so be sent on."""
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


def _refused(text: str) -> NoReturn:
    raise ValueError(text)
