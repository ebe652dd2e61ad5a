"""Ordinary requests: the same words are asked of harmless pictures and of unsafe ones, so that the picture decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Slot = TypeVar("Slot")


@dataclass(frozen=True, slots=True)
class Request:
    """A sort of ordinary request, e.g. for a poem.

    Attributes:
        sort: Its name.
        of: The sorts of pictures that it can be asked of (`Picture.sort`).
        ask: Its wordings.
        answers: Helpful answers with {places}, for any harmless picture of these sorts.
    """

    sort: str
    of: tuple[str, ...]
    ask: tuple[str, ...]
    answers: tuple[str, ...]


def read_requests(rows: Iterable[dict[str, Any]]) -> list[Request]:
    """The requests of a table's `[[request]]` entries."""
    return [Request(row["sort"], tuple(row["of"]), tuple(row["ask"]), tuple(row["answer"])) for row in rows]


def wordings_of(
    requests: Iterable[Request], sort: str, allowed: Callable[[Sequence[str]], Sequence[str]]
) -> list[tuple[str, Request]]:
    """What pictures of a sort may be asked: every allowed wording with its request."""
    return [(text, request) for request in requests if sort in request.of for text in allowed(request.ask)]


def deal(
    wordings: Sequence[tuple[str, Request]], unsafe: Sequence[Slot], safe: Sequence[Slot], rng: random.Random
) -> tuple[list[tuple[Slot, str, Request]], list[tuple[Slot, str, Request]]]:
    """Share wordings out so that each is asked of unsafe pictures and of harmless ones, in the same proportion.

    Args:
        wordings: What may be asked, with its request.
        unsafe: Unsafe pictures, each as often as it is to be asked something.
        safe: Harmless pictures, likewise.
        rng: Chooses the wordings and shuffles them.

    Returns:
        What is asked of the unsafe pictures and of the harmless ones: as many different wordings as both have room for.
    """
    count = min(len(wordings), len(unsafe), len(safe)) if unsafe else min(len(wordings), len(safe))
    chosen = rng.sample(list(wordings), count)

    def asked(slots: Sequence[Slot]) -> list[tuple[Slot, str, Request]]:
        order: list[tuple[str, Request]] = []
        while len(order) < len(slots) and chosen:
            order += rng.sample(chosen, len(chosen))
        return [(slot, *wording) for slot, wording in zip(slots, order, strict=False)]

    return asked(unsafe), asked(safe)
