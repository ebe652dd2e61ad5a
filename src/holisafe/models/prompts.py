"""What a model is asked, and the tensors that its processor makes of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from transformers import ProcessorMixin

from holisafe._checks import check_each, check_type
from holisafe.errors import ContextError, ImageError
from holisafe.images import LIMITS, content_hash, open_image, pixels_of, read_bytes
from holisafe.records import ImageRef, Role, Sample, Turn

CHARACTERS_PER_TOKEN = 32
"""More characters per token than any text has; a longer text is refused before it is tokenised."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that the model is to continue."""

    turns: tuple[Turn, ...]

    def __post_init__(self) -> None:
        """Refuse anything but turns."""
        check_each(self.turns, Turn, "turns")
        object.__setattr__(self, "turns", tuple(self.turns))

    @classmethod
    def ask(cls, question: str, *images: ImageRef) -> Prompt:
        """One question about `images`, as the evaluation protocol puts it: images first, then the raw query."""
        return cls((Turn(Role.USER, question, images),))

    @classmethod
    def of(cls, sample: Sample) -> Prompt:
        """The conversation of a sample."""
        check_type(sample, Sample, "sample")
        return cls(sample.turns)

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """All images, in the order in which the model sees them."""
        return tuple(image for turn in self.turns for image in turn.images)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tensors of one prompt, on the CPU.

    Attributes:
        ids: Token ids, placeholders of visual tokens included, (tokens,).
        per_token: Every further input with one value per token, such as token types, each (tokens,).
        vision: What the vision encoder reads, as a batch of one.
        shown: SHA-256 of the bytes of each image, in order; prompts with the same value show the same images.
        pixels: Pixels of its images, in sum.
        prompt: The prompt, its images as bytes in memory; None unless asked to be kept.
    """

    ids: Tensor
    per_token: Mapping[str, Tensor]
    vision: Mapping[str, Any]
    shown: tuple[str, ...]
    pixels: int = 0
    prompt: Prompt | None = field(default=None, repr=False)
    template_args: Mapping[str, Any] = field(default_factory=dict)


def prepare(
    processor: Any,
    prompt: Prompt,
    *,
    context: int | None = None,
    keep_prompt: bool = False,
    chat_template_args: Mapping[str, Any] | None = None,
) -> Prepared:
    """Decode the prompt's images and turn it into tensors, by the processor's own chat template.

    Args:
        processor: The model's processor.
        prompt: The conversation.
        context: How many tokens the model reads at most; None where its configuration names no limit.
        keep_prompt: Whether the result keeps the prompt, for processors that pad batches themselves.
        chat_template_args: Further arguments of the chat template, such as `{"enable_thinking": False}`.

    Raises:
        ImageError: An image cannot be read, or the images have too many pixels in sum.
        ContextError: The prompt leaves no room for an answer in the model's context.
    """
    _check_characters(prompt, context)
    read = _in_memory(prompt)
    pixels = _count_pixels(read)
    template = dict(chat_template_args or {})
    options = {**template, **template_options(processor)}
    tensors = processor.apply_chat_template(messages(read), return_dict=True, **options)
    ids = tensors.pop("input_ids")  # (1, tokens)
    if context is not None and ids.shape[1] >= context:
        raise ContextError(
            f"the prompt has {ids.shape[1]} tokens and the model's context {context}: no room for an answer; shorten "
            "the prompt or show fewer images"
        )
    tensors.pop("attention_mask", None)
    per_token = {key: value[0] for key, value in tensors.items() if _one_per_token(value, ids)}
    vision = {key: value for key, value in tensors.items() if key not in per_token}
    shown = tuple(image.digest for image in read.images)
    return Prepared(ids[0], per_token, vision, shown, pixels, read if keep_prompt else None, template)


def messages(prompt: Prompt) -> list[dict[str, Any]]:
    """The conversation as chat templates take it, images decoded.

    Raises:
        ImageError: An image cannot be read.
    """
    found = []
    for turn in prompt.turns:
        images = [{"type": "image", "image": open_image(image)} for image in turn.images]
        found.append({"role": turn.role.value, "content": [*images, {"type": "text", "text": turn.text}]})
    return found


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


def context_length(model: Any) -> int | None:
    """How many tokens a model reads at most, prompt and answer together; None where its configuration does not say."""
    found = model.config.get_text_config(decoder=True).to_dict().get("max_position_embeddings")
    return found if isinstance(found, int) and found > 0 else None


def _check_characters(prompt: Prompt, context: int | None) -> None:
    characters = sum(len(turn.text) for turn in prompt.turns)
    if context is not None and characters > context * CHARACTERS_PER_TOKEN:
        raise ContextError(
            f"the prompt has {characters} characters, more than fit into the model's context of {context} tokens; "
            "shorten it"
        )


def _in_memory(prompt: Prompt) -> Prompt:
    """The prompt with the bytes of its images, each read once and known by what was read."""
    return Prompt(tuple(replace(turn, images=tuple(map(_read, turn.images))) for turn in prompt.turns))


def _read(image: ImageRef) -> ImageRef:
    data = read_bytes(image)
    return ImageRef(image.key, data=data, digest=content_hash(data))


def _count_pixels(prompt: Prompt) -> int:
    """Pixels of all images of a prompt, from their headers."""
    pixels = sum(map(pixels_of, prompt.images))
    if pixels > LIMITS.max_total_pixels:
        raise ImageError(
            f"the {len(prompt.images)} images of the prompt have {pixels} pixels in sum, more than the "
            f"{LIMITS.max_total_pixels} allowed; scale them down or show fewer"
        )
    return pixels


def _one_per_token(value: Any, ids: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == ids.shape
