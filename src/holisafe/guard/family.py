"""Which models can be guarded."""

from __future__ import annotations

from typing import Any

from holisafe.errors import GuardError
from holisafe.families import Family, family_of


def guardable_family(model: Any) -> Family:
    """The family of a transformers model that can be guarded.

    Raises:
        GuardError: Its models cannot be guarded; the message says why.
    """
    config, family = model.config, family_of(model)
    why = family.why_not
    if not why and config.is_encoder_decoder:
        why = "its images are read by an encoder, and no position of the answering decoder stands for them"
    if not why and not isinstance(getattr(config, family.image_token, None), int):
        why = (
            f"its configuration has no {family.image_token}, so no position of a prompt is known to stand for an image"
        )
    if why:
        raise GuardError(f"{family.model_type} models cannot be guarded: {why}")
    return family
