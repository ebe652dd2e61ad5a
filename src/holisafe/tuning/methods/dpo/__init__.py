"""Direct preference optimisation: of two answers the better one, measured against the model as it was.

Source: arXiv 2305.18290; on safety preferences of vision-language models as SPA-VL does (arXiv 2406.12030).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning.methods._answers import AnswersMethod
from holisafe.tuning.methods._method import METHODS
from holisafe.tuning.methods.dpo.config import DpoConfig

if TYPE_CHECKING:
    from holisafe.records import Sample
    from holisafe.tuning._loss import Loss

__all__ = ["Dpo", "DpoConfig"]


class Dpo(AnswersMethod):
    """The better of two answers, with a guard where one is asked for."""

    name = "dpo"
    about = "which of two answers is better (DPO, arXiv 2305.18290, as SPA-VL uses it, arXiv 2406.12030)"
    config = DpoConfig
    is_balanced = False
    has_reference = True

    def prepare(self, samples: Sequence[Sample], config: DpoConfig) -> Sequence[Sample]:
        """Pairs as they are.

        Raises:
            TuningError: A sample has one answer, or the same twice.
        """
        for sample in samples:
            for field, answer in (("reference", sample.reference), ("rejected", sample.rejected)):
                if not (answer or "").strip():
                    raise TuningError(
                        f'sample {sample.id}: {field}: found none; method="dpo" learns from pairs, a better answer '
                        "(reference or chosen) and a worse one (rejected); `holisafe data pairs` makes them of twins"
                    )
            if (sample.reference or "").strip() == (sample.rejected or "").strip():
                raise TuningError(f"sample {sample.id}: rejected: found the reference again, expected a worse answer")
        return samples

    def prepare_general(self, samples: Sequence[Sample], config: DpoConfig) -> Sequence[Sample]:
        """Pairs too."""
        return self.prepare(samples, config)

    def collator(
        self, processor: Any, guard: GuardConfig | None, **options: Any
    ) -> Callable[[Sequence[Sample]], dict[str, Any]]:
        """Better answers, then worse ones."""
        from holisafe.tuning.methods.dpo.data import PairCollator

        return PairCollator(super().collator(processor, guard, **options))

    def counts(self, batch: Mapping[str, Any]) -> dict[str, int]:
        """Pairs and, with a guard, labelled images, combinations and categories."""
        from holisafe.tuning.methods.dpo.data import counts

        return counts(batch)

    def reference(self, model: Any, batch: Mapping[str, Any], config: DpoConfig) -> Mapping[str, Any]:
        """Log-probabilities of the answers."""
        from holisafe.tuning.methods.dpo.loss import reference

        return reference(model, batch)

    def loss(self, model: Any, batch: Mapping[str, Any], config: DpoConfig) -> Loss:
        """−log σ(β · margin) and, with a guard, its terms."""
        from holisafe.tuning.methods.dpo.loss import loss

        return loss(model, batch, config)


METHODS.add(Dpo.name, Dpo())
