"""Which models can have the meta token in their vision encoder, and where it goes in."""

from __future__ import annotations

from typing import Any

from torch import nn

from holisafe.errors import GuardError
from holisafe.families import Family, registered_families


def vision_embeddings(base: Any, family: Family) -> nn.Module:
    """The module that gives the vision encoder's tokens (images, tokens, width), position embeddings added.

    Raises:
        GuardError: The encoder is no plain ViT, or its tokens are not what goes into the language model.
    """
    from transformers import CLIPVisionModel, SiglipVisionModel

    tower = base.get_submodule(family.vision_tower) if family.vision_tower else None
    if isinstance(tower, CLIPVisionModel | SiglipVisionModel):
        embeddings: nn.Module = tower.embeddings
        return embeddings
    able = ", ".join(name for name, each in registered_families().items() if each.vision_tower)
    found = f"{family.model_type} models" + (f" with {type(tower).__name__}" if tower is not None else "")
    raise GuardError(
        f"{found} cannot have a meta token in the vision encoder: that needs a CLIP or SigLIP encoder every token of "
        f'which goes into the language model, as in {able} models; use meta_token_in="language"'
    )


def vision_width(base: Any, family: Family) -> int:
    """Hidden size of the vision encoder.

    Raises:
        GuardError: The model cannot have a meta token there.
    """
    positions = vision_embeddings(base, family).get_parameter("position_embedding.weight")
    return int(positions.shape[1])
