"""A model's image encoder, and the text encoder of a CLIP-like model, asked for one input at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoProcessor

from holisafe.editing._checkpoint import Checkpoint
from holisafe.editing._layout import ANY, layout_of
from holisafe.errors import ModelError
from holisafe.families.features import encode_images, forward_inputs
from holisafe.images import open_image
from holisafe.models import load
from holisafe.records import ImageRef

TOWERS = ("vision_model", "text_model")
"""Modules of a CLIP-like model."""

_PADDED = frozenset({"siglip", "siglip2"})
"""Types whose text encoder was trained on texts padded to one length."""


@dataclass(frozen=True, slots=True)
class Encoders:
    """A loaded model and its processor.

    Attributes:
        model: In evaluation mode.
        processor: Its processor.
        is_image_and_text: Whether it embeds images and texts side by side, as CLIP does.
    """

    model: Any
    processor: Any
    is_image_and_text: bool

    @torch.inference_mode()
    def encode_image(self, image: ImageRef | None) -> Tensor:
        """Features of one image: its embedding, (1, width), of a CLIP-like model; else its visual tokens.

        Raises:
            ImageError: It cannot be read.
        """
        assert image is not None
        inputs = self.processor.image_processor(images=[open_image(image)], return_tensors="pt").to(self.model.device)
        if not self.is_image_and_text:
            found: Tensor = encode_images(self.model, forward_inputs(self.model), inputs)
            return found
        return _pooled(self.model.get_image_features(pixel_values=inputs["pixel_values"]))

    @torch.inference_mode()
    def encode_text(self, text: str | None) -> Tensor:
        """The embedding of one text, (1, width), cut to the length that the model reads.

        It is padded only for models that were trained so.
        """
        padding = "max_length" if self.model.config.model_type in _PADDED else False
        return _pooled(self.model.get_text_features(input_ids=self._ids(text, padding).to(self.model.device)))

    def text_tokens(self, text: str | None) -> int:
        """How many tokens of a text the model reads, padding not counted."""
        return self._ids(text, False).shape[1]

    def _ids(self, text: str | None, padding: str | bool) -> Tensor:
        assert text is not None
        longest = self.model.config.text_config.max_position_embeddings
        options = {"truncation": True, "max_length": longest, "padding": padding, "return_tensors": "pt"}
        ids: Tensor = self.processor.tokenizer([text], **options)["input_ids"]  # (1, tokens)
        return ids


def open_encoders(checkpoint: Checkpoint, *, device: str = "cpu") -> Encoders:
    """Load a checkpoint to encode with.

    Raises:
        ModelError: It cannot be loaded.
    """
    if not is_image_and_text(layout_of(checkpoint, ANY).model):
        loaded = load(str(checkpoint.folder), device=device, dtype="float32" if device == "cpu" else "auto")
        return Encoders(loaded.model, loaded.processor, False)
    try:
        options: dict[str, Any] = {"local_files_only": True}
        model = AutoModel.from_pretrained(checkpoint.folder, use_safetensors=True, dtype=torch.float32, **options)
        processor = AutoProcessor.from_pretrained(checkpoint.folder, **options)
        return Encoders(model.to(device).eval(), processor, True)
    except Exception as error:  # transformers raises many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"{checkpoint.name}: cannot be loaded to encode with ({first})") from error


def is_image_and_text(model: Any) -> bool:
    """Whether a model embeds images and texts side by side, as CLIP does."""
    children = dict(model.named_children())
    return all(name in children for name in TOWERS)


def _pooled(features: Any) -> Tensor:
    found: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return found
