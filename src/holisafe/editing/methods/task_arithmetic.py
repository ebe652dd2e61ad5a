"""Task arithmetic (Ilharco et al., arXiv 2212.04089): add what safety tuning changed in a language model.

The task vector is safe - reference; the result is base + weight · (safe - reference), on language-model tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from holisafe.editing._method import EDITING_METHODS, Change, EditingConfig, EditingMethod

if TYPE_CHECKING:
    from torch import Tensor

    from holisafe.editing._checkpoint import Checkpoint
    from holisafe.editing._sources import Sources


class TaskArithmeticConfig(EditingConfig):
    """Settings of `task-arithmetic`."""

    safe: str = Field(min_length=1, description="The safe model.")
    reference: str = Field(min_length=1, description="The model that the safe one was tuned from.")
    weight: float = Field(1.0, ge=-10, le=10, description="Factor of the difference safe - reference.")


class TaskArithmetic(EditingMethod):
    """θ = base + weight · (safe - reference)."""

    name = "task-arithmetic"
    about = "Adds what safety tuning changed in another model."
    config = TaskArithmeticConfig
    strength = "weight"
    models = ("safe", "reference")

    def change(self, base: Checkpoint, config: Any, sources: Sources) -> Change:
        """Language-model tensors; weight 0 gives the base bit for bit."""
        from holisafe.editing._language import language_tensors

        language = language_tensors(base, sources.open(config.safe), sources.open(config.reference))
        weight = config.weight

        def added(ours: Tensor, safe: Tensor, reference: Tensor) -> Tensor:
            return ours + weight * (safe - reference) if weight else ours

        return Change(
            language.names,
            lambda name, tensor: language.combine(name, tensor, added),
            {"cosine": dict(zip(self.models, language.cosines, strict=True)), "rows_kept": language.kept_rows},
        )


EDITING_METHODS.add(TaskArithmetic.name, TaskArithmetic())
