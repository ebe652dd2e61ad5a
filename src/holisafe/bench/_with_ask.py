"""Work that asks a hosted model many things at once, for rooms that have their own prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from holisafe.bench._ask import AT_ONCE, inspect_ask
from holisafe.bench._hosted import in_loop
from holisafe.bench._judging import open_judge_model
from holisafe.judges import Ask

T = TypeVar("T")


def ask_each(
    model: str | Ask,
    items: Iterable[T],
    work: Callable[[T, Ask], Awaitable[None]],
    *,
    max_retries: int = 5,
    timeout: int = 300,
) -> None:
    """Do the work of each item, several at once and in no fixed order; the first error ends the others.

    Args:
        model: Inspect's name of the model, or what asks.
        items: What there is to do.
        work: Called with each item and what asks the model.
        max_retries: Retries of a failed request.
        timeout: Seconds that one attempt may take.

    Raises:
        ModelError: The model cannot be loaded.
        RunError: The work raises it, for example because its budget is spent.
    """

    async def every() -> None:
        if not isinstance(model, str):
            await _all(model, items, work)
            return
        async with open_judge_model(model, max_retries, timeout) as opened:
            await _all(inspect_ask(opened), items, work)

    in_loop(every)


async def _all(ask: Ask, items: Iterable[T], work: Callable[[T, Ask], Awaitable[None]]) -> None:
    waiting = iter(items)

    async def take() -> None:
        for item in waiting:
            await work(item, ask)

    workers = [asyncio.create_task(take()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
