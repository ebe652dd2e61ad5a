"""Frozen features of images: small pixels, or the mean visual token of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from holisafe.errors import ModelError

PIXELS = "pixels"
"""Name of the features that need no model."""

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """How an image becomes a vector.

    Attributes:
        name: "pixels", or the model's name.
        read: From an image (RGB) to its features (width,).
        max_bytes: Encoded bytes of all images together beyond which none is read; None for no limit.
    """

    name: str
    read: Callable[[Image.Image], Vector]
    max_bytes: int | None = None


def pixel_features(max_bytes: int | None = None) -> ImageFeatures:
    """Features that need no model: 16×16 RGB, a 4×4×4 colour histogram, gradient directions of 3×3 cells."""
    return ImageFeatures(PIXELS, _pixels, max_bytes)


def model_features(name: str) -> ImageFeatures:
    """The mean of the visual tokens that a model's vision encoder and projector give for an image.

    Args:
        name: A model as `holisafe.load` takes it.

    Raises:
        ModelError: It cannot be loaded, or does not give its visual tokens.
        MissingDependencyError: A library or the weights of an embedded model are not installed.
    """
    from holisafe.families.features import encode_images, forward_inputs
    from holisafe.models import load

    model, processor = load(name)
    model.eval()
    accepted = forward_inputs(model)
    if not accepted.vision_inputs:
        raise ModelError(f"{name} has no get_image_features, so its visual tokens are not at hand; use another model")

    def read(image: Image.Image) -> Vector:
        inputs = processor.image_processor(images=[image], return_tensors="pt")
        return _mean_token(name, encode_images(model, accepted, inputs)["pooler_output"])

    return ImageFeatures(name, read)


def _mean_token(name: str, tokens: Any) -> Vector:
    """Mean over all visual tokens of one image, (width,); a tensor or list of (..., width)."""
    import torch

    flat = torch.cat([each.float().reshape(-1, each.shape[-1]) for each in tokens])  # (tokens, width)
    mean: Vector = flat.mean(0).cpu().numpy()
    if not np.isfinite(mean).all():
        raise ModelError(f"{name} gives visual tokens that are not finite; load it in another dtype")
    return mean


def _pixels(image: Image.Image) -> Vector:
    """(768 + 64 + 72,)."""
    small = np.asarray(image.resize((16, 16)), np.float32).ravel() / 255
    middle = np.asarray(image.resize((48, 48)), np.float32)
    colours = np.histogramdd(middle.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)[0].ravel() / middle[..., 0].size
    dy, dx = np.gradient(middle.mean(-1))
    direction = ((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * 8).astype(int) % 8
    strength = np.hypot(dx, dy)
    cells = [
        np.bincount(direction[r : r + 16, c : c + 16].ravel(), strength[r : r + 16, c : c + 16].ravel(), 8)
        for r in (0, 16, 32)
        for c in (0, 16, 32)
    ]
    return np.concatenate([small, colours, np.concatenate(cells) / 1e4]).astype(np.float32)
