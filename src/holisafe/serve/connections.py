"""Connections bounded in time and number, so that clients who send or read slowly hold nothing for long."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from holisafe.serve.metrics import Metrics
from holisafe.serve.settings import Limits


class BoundedProtocol(H11Protocol):
    """Uvicorn's protocol for HTTP/1.1 with deadlines that uvicorn has not.

    The head of a request must arrive within `limits.header_seconds` of its first byte, or of the connection. A client
    must take what is written to it: after `limits.stall_seconds` with full buffers the connection is closed, which
    ends its answer. Of more than `limits.connections`, the one that has waited longest for a request is closed, or, if
    all are being answered, the new one.
    """

    limits: ClassVar[Limits] = Limits()
    metrics: ClassVar[Metrics | None] = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._idle_since = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no request of it is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has connected."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        self._head = self.loop.call_later(self.limits.header_seconds, self._drop, "slow_header")
        if len(self.connections) > self.limits.connections:
            idle = [each for each in self.connections if isinstance(each, BoundedProtocol) and each.is_idle]
            min(idle, key=lambda each: each._idle_since)._drop("full")  # this one is idle, too

    def data_received(self, data: bytes) -> None:
        """More of a request, or of several."""
        super().data_received(data)
        if not self.is_idle:
            _cancel(self._head)
            self._head = None
        elif self._head is None:
            self._idle_since = self.loop.time()
            self._head = self.loop.call_later(self.limits.header_seconds, self._drop, "slow_header")

    def on_response_complete(self) -> None:
        """A request has been answered: it waits for the next one from now on."""
        super().on_response_complete()
        self._idle_since = self.loop.time()

    def pause_writing(self) -> None:
        """The client takes nothing."""
        super().pause_writing()
        self._stall = self._stall or self.loop.call_later(self.limits.stall_seconds, self._drop, "slow_reader")

    def resume_writing(self) -> None:
        """It takes more."""
        super().resume_writing()
        _cancel(self._stall)
        self._stall = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        _cancel(self._head)
        _cancel(self._stall)

    def _drop(self, reason: str) -> None:
        """Close it; an answer that is written already reaches its client, unless that one does not read."""
        if self.metrics is not None:
            self.metrics.dropped.labels(reason).inc()
        self.connections.discard(self)  # counts no more, though the loop tells of its end later
        if reason == "slow_reader":
            self.transport.abort()
        else:
            self.transport.close()


def bounded(limits: Limits, metrics: Metrics | None) -> type[BoundedProtocol]:
    """The protocol with these limits; what it closes is counted there."""

    class Bounded(BoundedProtocol):
        pass

    Bounded.limits, Bounded.metrics = limits, metrics
    return Bounded


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
