"""Real families with random weights and two layers: what the tests run instead of mocks.

Each builder makes the family's own config, model and processor classes, small enough for milliseconds. The tokenizer
is a byte-level BPE with no merges, so every text is a sequence of bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Gemma3TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from holisafe._still import still_images_only

IMAGE_FIRST = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: "
    "{% for part in message['content'] if part['type'] == 'image' %}IMAGE{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
IMAGE_LAST = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: "
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'image' %}IMAGE{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """A model and its processor."""

    model: Any
    processor: Any


def tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with `special` tokens; `named` gives attributes such as image_token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(alphabet)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True) for t in ("<pad>", "<bos>", "<eos>", *special)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        extra_special_tokens=named,
    )


def _finish(model: Any, tokens: PreTrainedTokenizerFast) -> Any:
    """Spread the weights so that answers depend on what was asked, and let the model stop by itself."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) * (1.2 / weight.shape[-1] ** 0.5))
            elif name.endswith("bias"):
                weight.zero_()
            elif "norm" not in name:  # norms by other names, class tokens: zeros would make all images alike
                weight.copy_(torch.rand(weight.shape, generator=generator) + 0.5)
    model.generation_config.eos_token_id = tokens.eos_token_id
    model.generation_config.pad_token_id = tokens.pad_token_id
    return model.eval()


TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 32,
}


def llava(template: str = IMAGE_FIRST) -> Tiny:
    """LLaVA 1.5: CLIP and Llama, 16 visual tokens."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template.replace("IMAGE", "<image>"),
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
    )
    return Tiny(_finish(LlavaForConditionalGeneration(config), tokens), processor)


def llava_onevision(template: str = IMAGE_FIRST) -> Tiny:
    """LLaVA-OneVision: SigLIP and Qwen2, as many tiles as the image's shape asks for."""
    tokens = tokenizer("<image>", "<video>", image_token="<image>", video_token="<video>")
    pinpoints = [[32, 32], [32, 64], [64, 32], [64, 64]]
    processor = still_images_only(LlavaOnevisionProcessor)(
        LlavaOnevisionImageProcessorPil(size={"height": 32, "width": 32}, image_grid_pinpoints=pinpoints),
        tokens,
        None,
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=template.replace("IMAGE", "<image>"),
    )
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=Qwen2Config(vocab_size=len(tokens), **TEXT),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        video_token_id=tokens.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )
    return Tiny(_finish(LlavaOnevisionForConditionalGeneration(config), tokens), processor)


def qwen2_5_vl(template: str = IMAGE_FIRST) -> Tiny:
    """Qwen2.5-VL: images of any size, three-dimensional rotary positions."""
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tokens = tokenizer(*names, image_token="<|image_pad|>", video_token="<|video_pad|>")
    ids = {name: tokens.convert_tokens_to_ids(name) for name in names}
    processor = still_images_only(Qwen2_5_VLProcessor)(
        Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 64 * 64}),
        tokens,
        None,
        chat_template=template.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokens),
            **{key: value for key, value in TEXT.items() if key != "head_dim"},
            "bos_token_id": tokens.bos_token_id,
            "eos_token_id": tokens.eos_token_id,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "patch_size": 8,
            "out_hidden_size": 32,
            "window_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    return Tiny(_finish(Qwen2_5_VLForConditionalGeneration(config), tokens), processor)


def gemma3(template: str = IMAGE_FIRST, sliding_window: int = 512) -> Tiny:
    """Gemma 3: bidirectional attention among an image's tokens, one sliding and one full layer."""
    names = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
    tokens = tokenizer(*names, boi_token=names[0], eoi_token=names[1], image_token=names[2])
    processor = Gemma3Processor(
        Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokens,
        chat_template=template.replace("IMAGE", "<start_of_image>"),
        image_seq_length=4,
    )
    config = Gemma3Config(
        text_config=Gemma3TextConfig(
            vocab_size=len(tokens),
            **TEXT,
            sliding_window=sliding_window,
            layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=8,
        ),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        mm_tokens_per_image=4,
        tie_word_embeddings=False,
        boi_token_index=tokens.convert_tokens_to_ids(names[0]),
        eoi_token_index=tokens.convert_tokens_to_ids(names[1]),
        image_token_id=tokens.convert_tokens_to_ids(names[2]),
    )
    return Tiny(_finish(Gemma3ForConditionalGeneration(config), tokens), processor)


def smolvlm(template: str = IMAGE_FIRST) -> Tiny:
    """SmolVLM: SigLIP and Llama, the image cut into tiles beside a global view."""
    tiles = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    names = ("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", *tiles)
    tokens = tokenizer(*names, image_token="<image>")
    processor = still_images_only(SmolVLMProcessor)(
        SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokens,
        None,
        image_seq_len=4,
        chat_template=template.replace("IMAGE", "<image>"),
    )
    config = SmolVLMConfig(
        vision_config={**VISION},
        text_config=LlamaConfig(vocab_size=len(tokens), pad_token_id=tokens.pad_token_id, **TEXT),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return Tiny(_finish(SmolVLMForConditionalGeneration(config), tokens), processor)


FAMILIES: dict[str, Callable[..., Tiny]] = {
    "llava": llava,
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
    "gemma3": gemma3,
    "smolvlm": smolvlm,
}


def save(tiny: Tiny, folder: Path) -> Path:
    """Write `tiny` as a checkpoint that `from_pretrained` reads."""
    tiny.model.save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    return folder
