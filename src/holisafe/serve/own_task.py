"""Events of a task of its own, which may run ahead of whoever reads them and is ended without losing a connection.

Where a client leaves, its request is cancelled by asyncio, at whatever it waits for. httpcore shields the closing of a
connection against anyio's cancellation alone: closed in the request's own task, a connection could stay taken for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")

AHEAD = 16
"""Events that are kept until they are read."""

_RUNNING: set[asyncio.Task[None]] = set()
"""Tasks that may outlive the request they belong to, until their connection is closed; the loop alone forgets them."""


@asynccontextmanager
async def in_own_task(events: AsyncGenerator[T]) -> AsyncIterator[AsyncGenerator[T]]:
    """The events of a generator that runs from now on, in a task of its own, which ends with the block.

    Args:
        events: The generator; closed in its task. What it raises is raised where its events are read.
    """
    kept: asyncio.Queue[T | _End] = asyncio.Queue(AHEAD)
    scope = anyio.CancelScope()

    async def run() -> None:
        with scope:
            end = _End()
            try:
                async with aclosing(events):
                    async for event in events:
                        await kept.put(event)
            except Exception as error:
                end = _End(error)
            await kept.put(end)

    async def read() -> AsyncGenerator[T]:
        while not isinstance(event := await kept.get(), _End):
            yield event
        if event.error is not None:
            raise event.error

    task = asyncio.create_task(run())
    _RUNNING.add(task)
    task.add_done_callback(_RUNNING.discard)
    try:
        async with aclosing(read()) as found:
            yield found
    finally:
        scope.cancel()
        await asyncio.wait([task])  # which does not cancel it, either


class _End:
    """Stands after the last event, with the error that ended them, if there is one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
