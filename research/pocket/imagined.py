"""Pictures that were never drawn: visual tokens as the tower would give them for a name, by way of the text encoder.

The tower's head and the text encoder share one space. What the projector and the language model learn from names there
holds for pictures too, and there are far more names of things than drawings.
Source: the idea is that of CapDec (Nukrai et al., arXiv 2211.00575): train on noisy text embeddings, use on images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from research.pocket.things import things

_NOT_DRAWN = ("genus ", "family ", "order ", "class ", "suborder ", "subfamily ", "superfamily ", "subclass ")


def imaginable_names(art_dir: Path) -> list[str]:
    """Names of things, one or two words, without those of groups in biology."""
    return [name for name in things(art_dir).names() if not name.startswith(_NOT_DRAWN)]


@dataclass(frozen=True, slots=True)
class SharedSpace:
    """The alignment's head: from a visual token (hidden,) to the text encoder's space (384,), before it is normalised.

    Attributes:
        weight: (384, hidden).
        bias: (384,).
        length: Usual length of a global token in that space.
    """

    weight: Tensor
    bias: Tensor
    length: float

    @classmethod
    def read(cls, align: Path, tokens: Tensor) -> SharedSpace:
        """Read `align.safetensors`; tokens (pictures, hidden) are global ones to take the usual length of."""
        state = load_file(align)
        weight, bias = state["head.weight"], state["head.bias"]
        return cls(weight, bias, float((tokens @ weight.T + bias).norm(dim=-1).median()))

    def imagine(self, texts: Tensor, real: Tensor, noise: float | Tensor, generator: torch.Generator) -> Tensor:
        """Real visual tokens moved to where texts are.

        Args:
            texts: Unit vectors (pictures, 384).
            real: Visual tokens of any pictures (pictures, tokens, hidden).
            noise: Length of the noise added to the unit vectors, to be as far from a text as pictures are; one for
                all, or (pictures, 1, 1).
            generator: Source of the noise.

        Returns:
            (pictures, tokens, hidden).
        """
        scatter = torch.randn((*real.shape[:2], texts.shape[-1]), generator=generator) * noise / texts.shape[-1] ** 0.5
        wanted = F.normalize(texts[:, None] + scatter, dim=-1)  # (pictures, tokens, 384)
        now = real @ self.weight.T + self.bias
        moved: Tensor = real + (wanted * now.norm(dim=-1, keepdim=True) - now) @ torch.linalg.pinv(self.weight).T
        return moved
