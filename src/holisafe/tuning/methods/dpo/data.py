"""Batches of pairs: the better answers of all samples, then the worse ones, each with its conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from holisafe.records import Sample
from holisafe.tuning._guard_loss import count_guard

PREFERENCE = "preference"
"""The name of the term."""


@dataclass(frozen=True, slots=True)
class PairCollator:
    """Makes a batch (2 · samples, tokens) of samples with a reference and a rejected answer.

    Attributes:
        answers: Makes a batch of samples with references.
    """

    answers: Callable[[Sequence[Sample]], dict[str, Any]]

    @property
    def processor(self) -> Any:
        """The model's processor."""
        return self.answers.processor  # type: ignore[attr-defined]

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """A right-padded batch; a guard learns of the first half alone, since the second shows the same requests.

        Raises:
            TuningError: As `Collator`.
            ImageError: An image could not be let in.
        """
        return self.answers([*samples, *(_rejected(sample) for sample in samples)])


def counts(batch: Mapping[str, Any]) -> dict[str, int]:
    """Pairs, and the guard's targets."""
    return {PREFERENCE: len(batch["input_ids"]) // 2} | count_guard(batch)


def _rejected(sample: Sample) -> Sample:
    """The request with its worse answer, and without targets for a guard."""
    return replace(sample, reference=sample.rejected, combination=None, image_labels=())
