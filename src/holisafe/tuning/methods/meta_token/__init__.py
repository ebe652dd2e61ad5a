"""Safety meta token: the guard reads a learned token after each image. Source: arXiv 2506.04704 v1 and v2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning.methods._method import METHODS, Method
from holisafe.tuning.methods.meta_token.config import MetaTokenConfig

if TYPE_CHECKING:
    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss

__all__ = ["MetaToken", "MetaTokenConfig"]


class MetaToken(Method):
    """The method of the paper's first versions."""

    name = "meta-token"
    about = "answers together with a guard that reads a learned token per image (arXiv 2506.04704 v1)"
    config = MetaTokenConfig

    def guard(self, wanted: GuardConfig | None) -> GuardConfig | None:
        """Any guard; it gets a meta token where it has none."""
        return replace(wanted or GuardConfig(), meta_token=True)

    def check_guard(self, found: GuardConfig | None) -> None:
        """A guard with a meta token."""
        if found is None:
            raise TuningError('method="meta-token" needs a guard; add one with attach_guard(model)')
        if not found.meta_token:
            raise TuningError(
                'method="meta-token": the guard has no meta token; attach it with GuardConfig(meta_token=True)'
            )

    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Conversations, with the guard's targets."""
        from holisafe.tuning.methods.meta_token.data import collator

        return collator(processor, guard, **options)

    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Tokens, labelled images, combinations and categories."""
        from holisafe.tuning.methods.meta_token.data import counts

        return counts(batch)

    def loss(self, model: Any, batch: Mapping[str, Any], config: MetaTokenConfig) -> Loss:
        """Answer + λ · image + μ · (combination + category), with a meta token after each image."""
        from holisafe.tuning.methods.meta_token.loss import loss

        return loss(model, batch, config)


METHODS.add(MetaToken.name, MetaToken())
