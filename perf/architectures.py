"""Real architectures at full size with random weights, and prompts for them: speed needs no trained weights.

No program of its own; guard_overhead.py and guard_only.py measure them. The sizes are those of the released models,
whose parameter counts the configurations give: Qwen2.5-VL-7B-Instruct 8,292,166,656; llava-1.5-7b-hf 7,063,427,072;
gemma-3-12b-it 12,187,325,040; shieldgemma-2-4b-it 4,300,079,472; llava-onevision-qwen2-7b-ov-hf (LlavaGuard's)
8,030,348,832. Nothing is downloaded.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    Gemma3Config,
    LlavaConfig,
    LlavaOnevisionConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    ShieldGemma2Config,
    ShieldGemma2ForImageClassification,
)

HOSTS = ("pocket", "qwen2.5-vl-7b", "llava-1.5-7b", "gemma-3-12b")
"""Models that can carry a guard; Pocket has its own weights."""

SIDE = 448
"""Side in pixels of a Qwen2.5-VL image, whose size is free: 256 visual tokens."""

PHOTOGRAPH = (480, 640)
"""Height and width of what LLaVA-OneVision cuts into tiles."""


def build(name: str, *, device: torch.device, dtype: torch.dtype, tiny: bool = False) -> Any:
    """A model in evaluation mode that never ends an answer by itself.

    Args:
        name: One of `HOSTS`, "shieldgemma-2-4b" or "llavaguard-7b".
        device: Where its weights are made.
        dtype: Their type.
        tiny: Two narrow layers instead of the real sizes, to try the same code where there is no GPU.
    """
    if name == "pocket":
        from holisafe.models.pocket import load_pocket

        model = load_pocket(device=str(device), dtype=dtype)[0]
    else:
        config = _config(name, tiny)
        with torch.device(device):
            if isinstance(config, ShieldGemma2Config):
                model = ShieldGemma2ForImageClassification(config).to(dtype)
            else:
                model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        model.eval()
    if model.can_generate():
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
    return model


def prompts(model: Any, batch: int, text_tokens: int, seed: int = 0) -> dict[str, Tensor]:
    """Inputs for prompts of one random image and random text each, as the model's processor would give them.

    The image has its usual number of visual tokens, in the middle of the text. Text tokens are from the first
    thousand: there are no special ones among them but at the very start.
    """
    device, config = model.device, model.config
    generator = torch.Generator().manual_seed(seed)
    pixels = {
        key: value.to(device, model.dtype if value.is_floating_point() else None)
        for key, value in _pixels(config, batch, generator).items()
    }
    count = _visual_tokens(model, pixels)
    text = torch.randint(100, 1000, (batch, text_tokens), generator=generator)
    image = torch.full((batch, count), config.image_token_id)
    before = text_tokens // 4
    ids = torch.cat([text[:, :before], image, text[:, before:]], 1).to(device)  # (batch, tokens)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}
    types = (ids == config.image_token_id).long()
    if config.model_type in ("gemma3", "shieldgemma2"):
        inputs["token_type_ids"] = types
    if config.model_type == "qwen2_5_vl":
        inputs["mm_token_type_ids"] = types.int()
    return inputs


@torch.no_grad()
def _visual_tokens(model: Any, pixels: dict[str, Tensor]) -> int:
    """Visual tokens of one image, counted in the features themselves."""
    inner = model.model if model.config.model_type == "shieldgemma2" else model
    return len(inner.get_image_features(**pixels).pooler_output[0])


def _pixels(config: Any, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    vision = config.vision_config
    if config.model_type == "qwen2_5_vl":
        grid = SIDE // vision.patch_size
        width = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        patches = torch.rand(batch * grid * grid, width, generator=generator)
        return {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, grid, grid]] * batch)}
    side = vision.image_size
    if config.model_type == "llava_onevision":
        from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

        tiles = image_size_to_num_patches(PHOTOGRAPH, config.image_grid_pinpoints, side)
        return {
            "pixel_values": torch.rand(batch, tiles, 3, side, side, generator=generator),
            "image_sizes": torch.tensor([PHOTOGRAPH] * batch),
        }
    return {"pixel_values": torch.rand(batch, 3, side, side, generator=generator)}


def _config(name: str, tiny: bool) -> PreTrainedConfig:
    narrow = _NARROW if tiny else {}
    text = {**_TEXT[name], **narrow}
    match name:
        case "qwen2.5-vl-7b":
            if tiny:
                text |= {"rope_parameters": {**text["rope_parameters"], "mrope_section": [2, 3, 3]}}
            vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16}
            vision |= {"depth": 2, "hidden_size": 64, "num_heads": 4, "fullatt_block_indexes": [1]} if tiny else {}
            vision |= {"out_hidden_size": text["hidden_size"]}
            return Qwen2_5_VLConfig(text_config=text, vision_config=vision)
        case "llava-1.5-7b":
            vision = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14, "projection_dim": 768}
            vision |= {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
            return LlavaConfig(text_config=text, vision_config={**vision, "num_attention_heads": 16, **narrow})
        case "gemma-3-12b":
            return Gemma3Config(text_config=text, vision_config={**_siglip(896, 27), **narrow})
        case "shieldgemma-2-4b":
            return ShieldGemma2Config(text_config=text, vision_config={**_siglip(896, 27), **narrow})
        case "llavaguard-7b":
            steps = range(384, 2305, 384)
            pinpoints = [list(size) for size in itertools.product(steps, steps)]
            vision = {**_siglip(384, 26), **narrow}
            return LlavaOnevisionConfig(text_config=text, vision_config=vision, image_grid_pinpoints=pinpoints)
    raise ValueError(f"unknown architecture {name}")


def _siglip(side: int, layers: int) -> dict[str, Any]:
    """SigLIP SO400M, with the layers that the model uses."""
    return {
        "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
        "num_hidden_layers": layers, "num_attention_heads": 16, "image_size": side, "patch_size": 14,
        "vision_use_head": False,
    }  # fmt: skip


_NARROW = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip

_QWEN2 = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152_064,
}  # fmt: skip

_TEXT: dict[str, dict[str, Any]] = {
    "qwen2.5-vl-7b": {
        **_QWEN2,
        "max_position_embeddings": 128_000,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "llava-1.5-7b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32_064, "max_position_embeddings": 4096,
    },
    "gemma-3-12b": {
        "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 256, "sliding_window": 1024,
    },
    "shieldgemma-2-4b": {
        "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 1024,
    },
    "llavaguard-7b": {"model_type": "qwen2", **_QWEN2, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
}  # fmt: skip
