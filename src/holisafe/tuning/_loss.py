"""Loss terms: sums and counts, so that a step's loss does not depend on how its samples are split into batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossTerm:
    """One term of a batch's loss.

    Attributes:
        name: In the log, after "loss_".
        sum: Sum over the term's targets in the batch, scalar, in nats.
        count: How many targets that were.
        weight: What the mean over the optimizer step is multiplied by.
    """

    name: str
    sum: Tensor
    count: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Loss:
    """What a method gives for one batch.

    Attributes:
        terms: The terms, always the same ones in the same order, also where a batch has no target of one.
        outputs: What the model gave; its logits may be those of learned positions alone.
        hits: How often the guard was right, and of how many, (2,) each, by the name after "accuracy_" in the log.
    """

    terms: tuple[LossTerm, ...]
    outputs: Any = None
    hits: Mapping[str, Tensor] = field(default_factory=dict)

    def total(self, counts: Mapping[str, int] | None = None) -> Tensor:
        """Σ weight · sum / count: the loss to call `backward` on.

        Args:
            counts: Targets of each term in the whole optimizer step, over all micro-batches and processes, by name.
                With these, the totals of the micro-batches add up to the loss of the step. Those of this batch when
                None.
        """
        scale = {term.name: term.count for term in self.terms} if counts is None else counts
        parts = [term.weight * term.sum / max(scale[term.name], 1) for term in self.terms]
        device = parts[0].device
        return sum((part.to(device) for part in parts[1:]), parts[0])

    @property
    def means(self) -> dict[str, float]:
        """Mean of each term over its targets in this batch, before its weight, in nats; 0 where there are none."""
        return {term.name: float(term.sum.detach()) / max(term.count, 1) for term in self.terms}
