"""Pocket's parts put together: SmolLM2 out of its GGUF file, our tower and projector, and the LLaVA processor."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from holisafe.models.pocket._vision import EfficientNetLiteConfig
from holisafe.models.pocket._wheels import language_gguf

IMAGE_TOKEN = "<image>"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Images come first in each turn, whatever their place in it: questions about one image then share a prefix."""


def build_processor() -> LlavaProcessor:
    """SmolLM2's tokenizer with an image token, and the tower's normalisation, as a LLaVA processor."""
    gguf = language_gguf()
    with _quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, padding_side="left")
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    tokenizer.chat_template = None
    vision = EfficientNetLiteConfig()
    images = ViTImageProcessorPil(
        size={"height": vision.image_size, "width": vision.image_size},
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=vision.image_size // vision.grid,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="full",
        image_token=IMAGE_TOKEN,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(weights: Mapping[str, Tensor]) -> LlavaForConditionalGeneration:
    """The model in float32 with the language model's own weights and, over them, `weights`.

    Args:
        weights: Tensors by the model's own names, such as `model.vision_tower._conv_stem.weight`; those of the tower
            and the projector must all be there.

    Raises:
        ModelError: Tower or projector weights are missing, or a name is unknown.
    """
    from holisafe.errors import ModelError

    gguf = language_gguf()
    with _quiet_transformers():
        language = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    text = LlamaConfig(**{k: v for k, v in language.config.to_dict().items() if k != "quantization_config"})
    vision = EfficientNetLiteConfig()
    image_token_id = text.vocab_size
    text.vocab_size += 1
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token_id,
        image_seq_length=vision.num_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        projector_hidden_act="gelu",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    state = {
        f"model.language_{name}": tensor for name, tensor in language.state_dict().items() if name != "lm_head.weight"
    }
    embeddings = state["model.language_model.embed_tokens.weight"]
    # the image token's own row is never read (visual tokens take its place) nor generated (suppressed below)
    state["model.language_model.embed_tokens.weight"] = torch.cat([embeddings, torch.zeros_like(embeddings[:1])])
    missing, unknown = model.load_state_dict({**state, **weights}, strict=False)
    # tied to the embeddings; counts that only training reads
    missing = [name for name in missing if name != "lm_head.weight" and not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise ModelError(f"Pocket's weights do not fit: missing {missing[:3]}, unknown {unknown[:3]}")
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=text.bos_token_id,
        eos_token_id=text.eos_token_id,
        pad_token_id=text.pad_token_id,
        suppress_tokens=[image_token_id],
    )
    return model.eval()


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide the progress bars and notes of reading GGUF."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def parts(model: Any) -> dict[str, Tensor]:
    """Tower and projector weights of a model, by the names that `build_model` takes."""
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith(("model.vision_tower.", "model.multi_modal_projector."))
    }
