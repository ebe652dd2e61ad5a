"""Visual guard module: answers and a guard that reads each image's visual tokens are learned together.

Source: arXiv 2506.04704 v4 and v5, section 4; the joint head is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning.methods._method import METHODS, Method
from holisafe.tuning.methods.vgm.config import VgmConfig

if TYPE_CHECKING:
    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss

__all__ = ["VgmConfig", "VisualGuardModule"]


class VisualGuardModule(Method):
    """The published method."""

    name = "vgm"
    about = "answers together with a guard that reads the images (the visual guard module of arXiv 2506.04704 v5)"
    config = VgmConfig

    def guard(self, wanted: GuardConfig | None) -> GuardConfig | None:
        """Any guard without a meta token."""
        if wanted is not None and wanted.meta_token:
            raise TuningError('the guard has a meta token, which method="vgm" does not learn; use method="meta-token"')
        return wanted or GuardConfig()

    def check_guard(self, found: GuardConfig | None) -> None:
        """A guard without a meta token."""
        if found is None:
            raise TuningError('method="vgm" needs a guard; add one with attach_guard(model)')
        if found.meta_token:
            raise TuningError('method="vgm": the guard has a meta token; attach it with GuardConfig(meta_token=False)')

    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Conversations, with the guard's targets."""
        from holisafe.tuning.methods.vgm.data import collator

        return collator(processor, guard, **options)

    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Tokens, labelled images, combinations and categories."""
        from holisafe.tuning.methods.vgm.data import counts

        return counts(batch)

    def loss(self, model: Any, batch: Mapping[str, Any], config: VgmConfig) -> Loss:
        """Answer + λ · image + μ · (combination + category)."""
        from holisafe.tuning.methods.vgm.loss import loss

        return loss(model, batch, config)


METHODS.add(VisualGuardModule.name, VisualGuardModule())
