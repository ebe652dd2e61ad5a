"""Pooled projector features: kept once, they let other guards of the same vision side judge images without pixels."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from holisafe.errors import GuardError
from holisafe.guard._config import Features, Pooling
from holisafe.guard.attach import base_model, calibration_of, guard_of, language_model_of, observer_of


def check_keeps_vectors(model: Any) -> None:
    """Refuse a guard beside which projector features are not the model's alone.

    Raises:
        GuardError: It has no image head, reads the language model, or has a meta token in the vision encoder.
    """
    config = observer_of(model).config
    why = ""
    if not config.image_head:
        why = "has no image head"
    elif config.features is not Features.PROJECTOR:
        why = f'reads features="{config.features}"'
    elif config.meta_token:
        why = "has a meta token in the vision encoder, which changes what comes out of it"
    if why:
        raise GuardError(
            f'the guard {why}, so its features serve no other guard; expected one with features="projector" and no '
            "meta token"
        )


def check_reads_vectors(model: Any) -> None:
    """Refuse a guard that the mean of projector features does not suffice.

    Raises:
        GuardError: As `check_keeps_vectors`, or its pooling is not the mean.
    """
    check_keeps_vectors(model)
    pooling = observer_of(model).config.pooling
    if pooling is not Pooling.MEAN:
        raise GuardError(
            f'the guard has pooling="{pooling}", and the features that were kept are means over an image\'s visual '
            'tokens; use a guard with pooling="mean" (`holisafe guard train` makes one), or scan the images'
        )


def vision_digest(model: Any, processor: Any) -> str:
    """SHA-256 of what makes projector features: vision weights, projector weights, settings of the image processor.

    Weights are hashed as float32, so a model has one digest in the dtype it was saved in and in wider ones.

    Args:
        model: A model with a guard.
        processor: The model's processor.

    Returns:
        64 hex digits.
    """
    base = base_model(model)
    language = {id(tensor) for tensor in language_model_of(base, observer_of(model).family).state_dict().values()}
    language |= {id(tensor) for tensor in language_model_of(base, observer_of(model).family).parameters()}
    language |= {id(base.get_input_embeddings().weight)}
    found = hashlib.sha256()
    tensors = [*base.named_parameters(), *base.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda each: each[0]):
        if id(tensor) in language or name.startswith("guard.") or "lm_head" in name:
            continue
        found.update(f"{name} {list(tensor.shape)}".encode())
        found.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    settings = processor.image_processor.to_dict()
    found.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return found.hexdigest()


@torch.no_grad()
def vector_probabilities(model: Any, vectors: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """What a model's guard says of pooled features.

    Args:
        model: A model with a guard that `check_reads_vectors` lets pass.
        vectors: (images, width).

    Returns:
        Probabilities (images, labels), in the order of the guard's labels; a row is not finite where its vector is
        not.

    Raises:
        GuardError: The vectors have another width than the guard reads.
    """
    guard, width = guard_of(model), observer_of(model).site.width
    if not len(vectors):
        return np.zeros((0, len(guard.config.labels)))
    if vectors.shape[1] != width:
        raise GuardError(
            f"features of {vectors.shape[1]} numbers, and the guard reads {width}; scan the images again with "
            "--keep features"
        )
    device = next(guard.parameters()).device
    logits, _ = guard(torch.from_numpy(vectors.astype(np.float32)).to(device), None)
    scaled = logits.double().cpu() / calibration_of(model).temperature
    probabilities: npt.NDArray[np.float64] = torch.softmax(scaled, -1).numpy()
    return probabilities
