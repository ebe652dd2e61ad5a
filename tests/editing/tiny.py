"""Tiny models to edit: a vision-language model, a safe relative of its, language models alone, a CLIP-like encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoModelForCausalLM,
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPVisionConfig,
    SiglipConfig,
    SiglipModel,
    SiglipProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tiny_models import TEXT, VISION, Tiny, llava, save, tokenizer

QUADRUPLES = 6


def shifted(tiny: Tiny, seed: int = 1, by: float = 0.05) -> Tiny:
    """The model with every weight moved a little, as a tuned relative has them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in tiny.model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * by)
    return tiny


def vision_language(folder: Path) -> Path:
    return save(llava(), folder)


def safe_relative(folder: Path) -> Path:
    return save(shifted(llava()), folder)


def language_alone(folder: Path, tiny: Tiny) -> Path:
    """A vision-language model's language model as a checkpoint of its own."""
    alone = AutoModelForCausalLM.from_config(tiny.model.config.get_text_config())
    alone.model.load_state_dict(tiny.model.model.language_model.state_dict())
    alone.lm_head.load_state_dict(tiny.model.lm_head.state_dict())
    alone.save_pretrained(folder)
    tiny.processor.tokenizer.save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    """A CLIP with random weights and a byte tokenizer."""
    tokens = tokenizer()
    torch.manual_seed(0)
    text = {key: TEXT[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
    config = CLIPConfig(
        text_config=CLIPTextConfig(
            **text,
            vocab_size=len(tokens),
            max_position_embeddings=40,
            projection_dim=24,
            eos_token_id=tokens.eos_token_id,
            bos_token_id=tokens.bos_token_id,
            pad_token_id=tokens.pad_token_id,
        ).to_dict(),
        vision_config=CLIPVisionConfig(**VISION, projection_dim=24).to_dict(),
        projection_dim=24,
    )
    model: Any = CLIPModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=1.2 / weight.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokens).save_pretrained(folder)
    return folder


def siglip(folder: Path) -> Path:
    """A SigLIP with random weights, whose texts are padded to one length."""
    tokens = tokenizer()
    torch.manual_seed(0)
    text = {key: TEXT[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
    ids = {
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
    }
    config = SiglipConfig(
        text_config={**text, **ids, "vocab_size": len(tokens), "max_position_embeddings": 48, "projection_size": 32},
        vision_config={**VISION},
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 32, "width": 32}), tokens).save_pretrained(folder)
    return folder


def quadruples(folder: Path) -> Path:
    """Safe and unsafe images and texts, as JSON Lines."""
    folder.mkdir()
    lines = []
    for number in range(QUADRUPLES):
        names = {kind: f"{kind}-{number}.png" for kind in ("safe", "unsafe")}
        for kind, name in names.items():
            image = Image.new("RGB", (32, 32), (40 * number, 90, 200) if kind == "safe" else (250, 30 * number, 10))
            image.paste((255, 255, 255), (number, 4, number + 9, 20))
            image.save(folder / name)
        lines.append(
            {
                "safe_image": names["safe"],
                "unsafe_image": names["unsafe"],
                "safe_text": f"a picture of a garden, number {number}",
                "unsafe_text": f"a picture of a knife, number {number}",
            }
        )
    path = folder / "quadruples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
