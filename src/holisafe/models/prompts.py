"""What a model is asked, and the tensors that its processor makes of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import ProcessorMixin

from holisafe.images import open_image
from holisafe.records import ImageRef


@dataclass(frozen=True, slots=True)
class Turn:
    """One message: its role ("system", "user", "assistant") and its text and images, in order."""

    role: str
    parts: tuple[str | ImageRef, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that the model is to continue."""

    turns: tuple[Turn, ...]

    @classmethod
    def ask(cls, question: str, *images: ImageRef) -> Prompt:
        """One question about `images`, as the evaluation protocol puts it: images first, then the raw query."""
        return cls((Turn("user", (*images, question)),))

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """All images, in the order in which the model sees them."""
        return tuple(part for turn in self.turns for part in turn.parts if isinstance(part, ImageRef))


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tensors of one prompt, on the CPU.

    Attributes:
        ids: Token ids, placeholders of visual tokens included, (tokens,).
        per_token: Every further input with one value per token, such as token types, each (tokens,).
        vision: What the vision encoder reads, as a batch of one.
        shown: Identity of the images in their order; prompts with the same one show the same images.
        conversation: The messages with decoded images; None unless asked to be kept.
    """

    ids: Tensor
    per_token: Mapping[str, Tensor]
    vision: Mapping[str, Any]
    shown: tuple[str, ...]
    conversation: list[dict[str, Any]] | None = field(default=None, repr=False)


def prepare(processor: Any, prompt: Prompt, *, keep_conversation: bool = False) -> Prepared:
    """Decode the prompt's images and turn it into tensors, by the processor's own chat template.

    Raises:
        ImageError: An image could not be let in.
    """
    messages = [{"role": turn.role, "content": [_content(part) for part in turn.parts]} for turn in prompt.turns]
    tensors = processor.apply_chat_template(messages, return_dict=True, **template_options(processor))
    ids = tensors.pop("input_ids")  # (1, tokens)
    tensors.pop("attention_mask", None)
    per_token = {key: value[0] for key, value in tensors.items() if _one_per_token(value, ids)}
    vision = {key: value for key, value in tensors.items() if key not in per_token}
    shown = tuple(image.identity for image in prompt.images)
    return Prepared(ids[0], per_token, vision, shown, messages if keep_conversation else None)


def template_options(processor: Any) -> dict[str, Any]:
    """Arguments of `apply_chat_template` for asking.

    Where transformers can, control tokens that the question itself spells out (such as an image placeholder) are
    read as plain text.
    """
    options: dict[str, Any] = {"tokenize": True, "return_tensors": "pt", "add_generation_prompt": True}
    options["processor_kwargs"] = {"padding": False}
    if "sanitize_control_tokens" in inspect.signature(ProcessorMixin.apply_chat_template).parameters:
        options["sanitize_control_tokens"] = True
    return options


def _content(part: str | ImageRef) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image", "image": open_image(part)}


def _one_per_token(value: Any, ids: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == ids.shape
