"""Batches of supervised fine-tuning: conversations, without targets for a guard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holisafe.tuning._answer_loss import count_answer
from holisafe.tuning._collate import Collator


def collator(processor: Any, **options: Any) -> Collator:
    """The collator."""
    return Collator(processor, None, **options)


def counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Tokens that are learned."""
    return count_answer(batch)
