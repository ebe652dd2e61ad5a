"""Batches of the visual guard module: conversations, and what the guard's heads learn of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holisafe.guard import GuardConfig
from holisafe.tuning._answer_loss import count_answer
from holisafe.tuning._collate import Collator
from holisafe.tuning._guard_loss import count_guard


def collator(processor: Any, guard: GuardConfig | None, **options: Any) -> Collator:
    """The collator, with the guard's targets."""
    return Collator(processor, guard, **options)


def counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Targets of each term; meta tokens are not learned as text."""
    return count_answer(batch) | count_guard(batch)
