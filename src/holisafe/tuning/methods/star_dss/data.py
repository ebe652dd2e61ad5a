"""Batches of STAR-DSS: conversations, with the safety score of each token that is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from holisafe.guard import GuardConfig
from holisafe.records import Sample
from holisafe.tuning._answer_loss import ANSWER, count_answer
from holisafe.tuning._collate import Collator
from holisafe.tuning._guard_loss import count_guard
from holisafe.tuning._spans import answer_starts
from holisafe.tuning.methods.star_dss.scores import chunks_of

VALUES = "safety_scores"
"""In a batch: the score of each learned token (batch, tokens); 0 elsewhere."""

DISTANCE = "reference"
"""The term of the distance from the model as it was."""


@dataclass(frozen=True, slots=True)
class ScoredCollator:
    """Makes a batch as `Collator` does, and puts the samples' scores into it.

    A token has the score of the chunk in which its first character is. The token that ends the turn has that of the
    last chunk, so that the model learns to end what is safe; the released code never learns it.
    """

    conversations: Collator

    @property
    def processor(self) -> Any:
        """The model's processor."""
        return self.conversations.processor

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """A right-padded batch.

        Raises:
            TuningError: As `Collator`; or a sample has no scores.
            ImageError: An image could not be let in.
        """
        batch = self.conversations(samples)
        labels: Tensor = batch["labels"]
        values = labels.new_zeros(labels.shape, dtype=torch.float32)  # (batch, tokens)
        for row, sample in enumerate(samples):
            chunks = chunks_of(sample)
            tokenizer = self.processor.tokenizer
            columns, starts = answer_starts(tokenizer, labels[row], sample.reference or "", sample.id)
            values[row, columns] = values.new_tensor([chunks.at(start) for start in starts])
        return batch | {VALUES: values}


def collator(processor: Any, guard: GuardConfig | None, **options: Any) -> ScoredCollator:
    """The collator."""
    return ScoredCollator(Collator(processor, guard, **options))


def counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Targets of each term: all learned tokens, of both; and those of a guard."""
    learned = count_answer(batch)
    return learned | {DISTANCE: learned[ANSWER]} | count_guard(batch)
