"""Which of the waiting prompts are answered together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from holisafe.images import LIMITS
from holisafe.models.prompts import Prepared


class Waiting(Protocol):
    """A prompt in the queue."""

    @property
    def tensors(self) -> Prepared:
        """Its tensors."""

    @property
    def new_tokens(self) -> int:
        """Maximum number of new tokens that it is answered with."""

    @property
    def stays_apart(self) -> bool:
        """Whether only requests that do too may share its batch."""


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much one batch may hold; a prompt that is larger goes alone.

    Attributes:
        prompts: Maximum number of prompts.
        tokens: Maximum number of tokens, padding and new tokens included: prompts x (longest prompt + new tokens).
        padding: Maximum share of padding in what is read, in [0, 1).
        pixels: Maximum number of pixels of all images.
    """

    prompts: int = 16
    tokens: int = 2**16
    padding: float = 0.25
    pixels: int = LIMITS.max_total_pixels

    def hold(self, lengths: Sequence[int], new_tokens: int, pixels: int) -> bool:
        """Whether prompts of these lengths in tokens, with so many pixels, may be one batch."""
        if len(lengths) <= 1:
            return True
        width = len(lengths) * max(lengths)
        few_pads = width - sum(lengths) <= max(self.padding * width, _FREE_PADDING)
        in_budget = width + len(lengths) * new_tokens <= self.tokens
        return len(lengths) <= self.prompts and few_pads and in_budget and pixels <= self.pixels


_FREE_PADDING = 1024
"""Tokens of padding that any batch may have: so few cost less than another batch."""


def choose_batch(waiting: Sequence[W], limits: BatchLimits) -> list[W]:
    """The oldest prompt, those that share its images, then groups in order of how near they are in length."""
    if not waiting:
        return []
    oldest = waiting[0]
    groups: dict[tuple[str, ...], list[W]] = {}
    for request in waiting:
        if _kind(request) == _kind(oldest):
            groups.setdefault(request.tensors.shown, []).append(request)
    length = len(oldest.tensors.ids)

    def distance(group: list[W]) -> int:
        return 0 if oldest in group else 1 + max(abs(len(request.tensors.ids) - length) for request in group)

    batch, lengths, pixels = [oldest], [length], oldest.tensors.pixels
    for group in sorted(groups.values(), key=distance):
        # the oldest stays first, so that each group's prompts lie side by side
        for request in sorted((each for each in group if each is not oldest), key=lambda each: _apart(each, length)):
            more = request.tensors
            if limits.hold([*lengths, len(more.ids)], oldest.new_tokens, pixels + more.pixels):
                batch.append(request)
                lengths.append(len(more.ids))
                pixels += more.pixels
    return batch


def group_by_images(prompts: Sequence[Prepared]) -> list[list[Prepared]]:
    """Neighbours that show the same images; `choose_batch` puts them side by side."""
    groups: list[list[Prepared]] = []
    for prompt in prompts:
        if groups and groups[-1][0].shown == prompt.shown:
            groups[-1].append(prompt)
        else:
            groups.append([prompt])
    return groups


def _kind(request: Waiting) -> tuple[int, bool, bool]:
    """Only prompts of one kind share a batch: all show images or none does."""
    return request.new_tokens, bool(request.tensors.shown), request.stays_apart


def _apart(request: Waiting, length: int) -> int:
    return abs(len(request.tensors.ids) - length)
