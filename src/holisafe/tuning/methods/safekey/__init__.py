"""SafeKey: the sentence of a thought that decides is told from the understanding before it, and harm from both.

For thinking models. Source: arXiv 2505.16186, for text; here images are part of the query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holisafe.guard import GuardConfig
from holisafe.tuning.methods._answers import AnswersMethod
from holisafe.tuning.methods._method import METHODS
from holisafe.tuning.methods.safekey.config import SafeKeyConfig

if TYPE_CHECKING:
    from torch import nn

    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss

__all__ = ["SafeKey", "SafeKeyConfig"]


class SafeKey(AnswersMethod):
    """Answers with thoughts, two auxiliary terms, and a guard where one is asked for."""

    name = "safekey"
    about = "answers with thoughts, whose key sentence follows from their understanding (SafeKey, arXiv 2505.16186)"
    config = SafeKeyConfig

    def prepare(self, samples: Sequence[Sample], config: SafeKeyConfig) -> Sequence[Sample]:
        """The same samples; each must have a thought and a key sentence."""
        from holisafe.tuning.methods.safekey.data import check_key, check_thought

        for sample in samples:
            check_thought(sample)
            check_key(sample)
        return samples

    def prepare_general(self, samples: Sequence[Sample], config: SafeKeyConfig) -> Sequence[Sample]:
        """The same samples; each must have a thought, and may have a key sentence."""
        from holisafe.tuning.methods.safekey.data import KEY_TAG, check_key, check_thought

        for sample in samples:
            check_thought(sample)
            if KEY_TAG in sample.tags:
                check_key(sample)
        return samples

    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Conversations, with the places of the key sentences."""
        from holisafe.tuning.methods.safekey.data import collator

        return collator(processor, guard, **options)

    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Tokens, tokens of key sentences, requests, and a guard's targets."""
        from holisafe.tuning.methods.safekey.data import counts

        return counts(batch)

    def settings_at(self, config: SafeKeyConfig, progress: float) -> SafeKeyConfig:
        """Without the auxiliary terms before they begin."""
        is_early = progress < config.auxiliary_start
        return replace(config, key_weight=0.0, head_weight=0.0) if is_early else config

    def training_modules(self, width: int, config: SafeKeyConfig) -> nn.Module | None:
        """The safety heads."""
        from holisafe.tuning.methods.safekey.heads import SafetyHeads

        return SafetyHeads(width) if config.head_weight else None

    def loss(self, model: Any, batch: Mapping[str, Any], config: SafeKeyConfig) -> Loss:
        """Answer + key sentence + heads."""
        from holisafe.tuning.methods.safekey.loss import loss

        return loss(model, batch, config)


METHODS.add(SafeKey.name, SafeKey())
