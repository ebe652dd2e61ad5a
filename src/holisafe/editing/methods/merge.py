"""Linear merging of a safe language model into a vision-language one (arXiv 2410.07571).

The paper recommends merging separately tuned weights; operator and ratio are not published, so the coefficient is a
setting, to be swept. Only language-model tensors change: vision tower and projector stay the vision-language model's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from holisafe.editing._method import EDITING_METHODS, Change, EditingConfig, EditingMethod

if TYPE_CHECKING:
    from torch import Tensor

    from holisafe.editing._checkpoint import Checkpoint
    from holisafe.editing._sources import Sources


class MergeConfig(EditingConfig):
    """Settings of `merge`."""

    safe: str = Field(min_length=1, description="The safe model: a language model alone, or a vision-language model.")
    c: float = Field(0.5, ge=0, le=1, description="Share of the safe model's weights, from 0 to 1.")


class Merge(EditingMethod):
    """θ = c · safe + (1 - c) · base."""

    name = "merge"
    about = "Mixes the language model with that of a safe model."
    config = MergeConfig
    strength = "c"
    models = ("safe",)

    def change(self, base: Checkpoint, config: Any, sources: Sources) -> Change:
        """Language-model tensors; c = 0 and c = 1 give the two models' tensors bit for bit."""
        from holisafe.editing._language import language_tensors

        language = language_tensors(base, sources.open(config.safe))
        c: float = config.c

        def mixed(ours: Tensor, safe: Tensor) -> Tensor:
            if c in (0, 1):
                return safe if c else ours
            return c * safe + (1 - c) * ours

        return Change(
            language.names,
            lambda name, tensor: language.combine(name, tensor, mixed),
            {"cosine": dict(zip(self.models, language.cosines, strict=True)), "rows_kept": language.kept_rows},
        )


EDITING_METHODS.add(Merge.name, Merge())
