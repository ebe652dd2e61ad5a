"""Supervised fine-tuning: answers alone, without a guard, to see what the guard adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning.methods._method import METHODS, Method
from holisafe.tuning.methods.sft.config import SftConfig

if TYPE_CHECKING:
    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss

__all__ = ["Sft", "SftConfig"]


class Sft(Method):
    """Answers alone."""

    name = "sft"
    about = "answers alone (supervised fine-tuning, without a guard)"
    config = SftConfig

    def guard(self, wanted: GuardConfig | None) -> GuardConfig | None:
        """None."""
        return None

    def check_guard(self, found: GuardConfig | None) -> None:
        """No guard."""
        if found is not None:
            raise TuningError('method="sft" has no guard; take it out with detach_guard(model)')

    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Conversations."""
        from holisafe.tuning.methods.sft.data import collator

        return collator(processor, **options)

    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Tokens."""
        from holisafe.tuning.methods.sft.data import counts

        return counts(batch)

    def loss(self, model: Any, batch: Mapping[str, Any], config: SftConfig) -> Loss:
        """The answer's cross-entropy."""
        from holisafe.tuning.methods.sft.loss import loss

        return loss(model, batch, config)


METHODS.add(Sft.name, Sft())
