"""TIES merging (Yadav et al., arXiv 2306.01708) of a base and a safe model that go back to one reference.

Of each tensor's two task vectors (base - reference, safe - reference) the largest entries are kept (trim), each entry's
sign is that of the larger sum (elect), and the entries of that sign are averaged (disjoint merge).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from holisafe.editing._method import EDITING_METHODS, Change, EditingConfig, EditingMethod

if TYPE_CHECKING:
    from torch import Tensor

    from holisafe.editing._checkpoint import Checkpoint
    from holisafe.editing._sources import Sources


class TiesConfig(EditingConfig):
    """Settings of `ties`; the defaults are the paper's."""

    safe: str = Field(min_length=1, description="The safe model.")
    reference: str = Field(min_length=1, description="The model that both were tuned from.")
    density: float = Field(0.2, gt=0, le=1, description="Share of each task vector that is kept, by magnitude.")
    weight: float = Field(1.0, ge=0, le=10, description="Factor of the merged task vector.")


class Ties(EditingMethod):
    """θ = reference + weight · merged task vector."""

    name = "ties"
    about = "Merges with a safe model by TIES."
    config = TiesConfig
    strength = "weight"
    models = ("safe", "reference")

    def change(self, base: Checkpoint, config: Any, sources: Sources) -> Change:
        """Language-model tensors; weight 0 gives the reference's bit for bit."""
        from holisafe.editing._language import language_tensors

        language = language_tensors(base, sources.open(config.safe), sources.open(config.reference))

        weight: float = config.weight

        def combined(ours: Tensor, safe: Tensor, reference: Tensor) -> Tensor:
            if not weight:
                return reference
            vectors = [ours - reference, safe - reference]
            return reference + weight * merged_vector(vectors, config.density)

        return Change(
            language.names,
            lambda name, tensor: language.combine(name, tensor, combined),
            {"cosine": dict(zip(self.models, language.cosines, strict=True)), "rows_kept": language.kept_rows},
        )


def merged_vector(vectors: list[Tensor], density: float) -> Tensor:
    """Trim, elect signs, and average the entries that agree (algorithm 1 of the paper).

    Args:
        vectors: Task vectors of one tensor, all of its shape.
        density: Share of each that is kept, in (0, 1].
    """
    import torch

    stacked = torch.stack([_trimmed(vector, density) for vector in vectors])  # (vectors, *shape)
    sign = stacked.sum(0).sign()  # (*shape)
    agrees = (stacked.sign() == sign) & (stacked != 0)  # (vectors, *shape)
    merged: Tensor = (stacked * agrees).sum(0) / agrees.sum(0).clamp_min(1)  # (*shape)
    return merged


def _trimmed(vector: Tensor, density: float) -> Tensor:
    """The entries of largest magnitude, the others 0; of equal ones, the first."""
    import torch

    count = max(1, round(density * vector.numel()))
    kept = vector.flatten().abs().argsort(descending=True, stable=True)[:count]
    mask = torch.zeros(vector.numel(), dtype=torch.bool).index_fill_(0, kept, True)
    return vector * mask.view_as(vector)


EDITING_METHODS.add(Ties.name, Ties())
