"""The linear layers that are edited, and their tensors in the files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from torch import nn

from holisafe.editing._checkpoint import Checkpoint
from holisafe.editing._encoders import TOWERS, is_image_and_text
from holisafe.editing._layout import ANY, Layout, layout_of
from holisafe.errors import EditingError


class Encoder(StrEnum):
    """One of a model's encoders."""

    VISION = "vision"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer.

    Attributes:
        encoder: What it is part of.
        module: Its name in the model.
        tensor: Name of its weight in the files, (out, in).
    """

    encoder: Encoder
    module: str
    tensor: str


def encoder_layers(base: Checkpoint, config: Any) -> list[Layer]:
    """The layers that a `UwmConfig` names.

    Raises:
        EditingError: The model lacks the encoder, or the encoder such layers.
        ModelError: transformers does not know the model.
    """
    layout = layout_of(base, ANY)
    chosen = list(Encoder) if config.encoders == "both" else [Encoder(config.encoders)]
    names = {Encoder.VISION: config.vision_layer, Encoder.TEXT: config.text_layer}
    return [layer for encoder in chosen for layer in _layers(layout, base, encoder, names[encoder])]


def _layers(layout: Layout, base: Checkpoint, encoder: Encoder, wanted: str) -> Iterator[Layer]:
    path, module = _encoder(layout.model, base, encoder)
    linear = [name for name, each in module.named_modules() if isinstance(each, nn.Linear)]
    named = [name for name in linear if name.rpartition(".")[2] == wanted and ".attention." not in f".{name}"]
    if not named:
        others = ", ".join(sorted({name.rpartition(".")[2] for name in linear})) or "none"
        raise EditingError(
            f"{encoder}_layer: the {encoder} encoder of {base.name} has no linear layer named {wanted}; its linear "
            f"layers: {others}"
        )
    files = {place: name for name, place in layout.places.items()}
    for name in named:
        place = f"{path}.{name}.weight"
        if list(layout.places.values()).count(place) != 1:
            raise EditingError(f"{base.name}: {place} is put together from several tensors; it cannot be edited")
        base.finite(files[place])
        yield Layer(encoder, f"{path}.{name}", files[place])


def _encoder(model: Any, base: Checkpoint, encoder: Encoder) -> tuple[str, nn.Module]:
    if is_image_and_text(model):
        path = TOWERS[encoder is Encoder.TEXT]
        return path, model.get_submodule(path)
    if encoder is Encoder.TEXT:
        raise EditingError(
            f"encoders: {base.name} has no text encoder beside its image encoder; give vision, or a CLIP-like model"
        )
    try:
        module: nn.Module = model.get_encoder(modality="image")
        path = next(name for name, each in model.named_modules() if each is module and name)
    except (AttributeError, StopIteration) as error:
        raise EditingError(f"encoders: {base.name} has no vision encoder of its own") from error
    return path, module
