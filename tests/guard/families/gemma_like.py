"""Gemma's relatives: an image's tokens look at each other in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch.nn import Conv2d
from transformers import (
    AutoModel,
    BatchFeature,
    Gemma3nAudioConfig,
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    Gemma3nTextConfig,
    Gemma3nVisionConfig,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4Processor,
    Gemma4TextConfig,
    Gemma4UnifiedAudioFeatureExtractor,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedProcessor,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedVisionConfig,
    Gemma4VisionConfig,
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from guard.families.case import Case, with_processor
from guard.families.weights import spread
from holisafe._still import still_images_only
from tiny_models import TEXT, VISION, tokenizer


def paligemma() -> Case:
    """PaliGemma: every image's tokens in one run before the text, which ends in a line break."""
    tokens = tokenizer("<image>", image_token="<image>")
    image_processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    image_processor.image_seq_length = 16
    processor = PaliGemmaProcessor(image_processor, tokens)
    config = PaliGemmaConfig(
        text_config=GemmaConfig(vocab_size=len(tokens), **TEXT),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
        tie_word_embeddings=False,
    )
    model = spread(PaliGemmaForConditionalGeneration(config), tokens)

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        prompts = ["<image>" * len(row) + text for row, text in zip(images, texts, strict=True)]
        # asked for tensors at once, it copies them in a way that numpy warns about
        batch = processor(text=prompts, images=[list(row) for row in images], padding=True, padding_side="left")
        del batch["labels"]
        return dict(BatchFeature(dict(batch), tensor_type="pt"))

    return Case(model, inputs)


GEMMA4_TOKENS = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
    "video_token": "<|video|>",
}


def gemma4_ids(tokens: PreTrainedTokenizerFast) -> dict[str, int]:
    """The configuration's names of Gemma 4's special tokens."""
    ids = {f"{name}_id": tokens.convert_tokens_to_ids(token) for name, token in GEMMA4_TOKENS.items()}
    ids["eoa_token_index"] = ids.pop("eoa_token_id")
    return ids


def gemma4() -> Case:
    """Gemma 4: images of any shape, embeddings per layer, one sliding and one full layer."""
    tokens = tokenizer(*GEMMA4_TOKENS.values(), **GEMMA4_TOKENS)
    processor = still_images_only(Gemma4Processor)(
        Gemma4AudioFeatureExtractor(),
        Gemma4ImageProcessorPil(patch_size=4, max_soft_tokens=70, pooling_kernel_size=2),
        tokens,
        None,
    )
    config = Gemma4Config(
        text_config=Gemma4TextConfig(
            vocab_size=len(tokens),
            vocab_size_per_layer_input=len(tokens),
            hidden_size_per_layer_input=8,
            **TEXT,
            global_head_dim=16,
            layer_types=["sliding_attention", "full_attention"],
            use_bidirectional_attention="vision",
            pad_token_id=tokens.pad_token_id,
        ),
        vision_config=Gemma4VisionConfig(
            **{key: value for key, value in VISION.items() if key not in ("image_size", "patch_size")},
            num_key_value_heads=4,
            head_dim=8,
            patch_size=4,
            pooling_kernel_size=2,
            position_embedding_size=320,
        ),
        audio_config=None,
        **gemma4_ids(tokens),
        tie_word_embeddings=False,
    )
    return with_processor(spread(Gemma4ForConditionalGeneration(config), tokens), processor, "<|image|>")


def gemma4_unified() -> Case:
    """Gemma 4 without a vision tower: pixels are projected.

    Its own image processor needs torchvision; Gemma 4's, without pooling, cuts the same patches in the same order.
    """
    tokens = tokenizer(*GEMMA4_TOKENS.values(), **GEMMA4_TOKENS)
    processor = still_images_only(Gemma4UnifiedProcessor)(
        Gemma4UnifiedAudioFeatureExtractor(),
        Gemma4ImageProcessorPil(patch_size=8, max_soft_tokens=70, pooling_kernel_size=1),
        tokens,
        None,
    )
    config = Gemma4UnifiedConfig(
        text_config=Gemma4UnifiedTextConfig(
            vocab_size=len(tokens),
            **TEXT,
            global_head_dim=16,
            layer_types=["sliding_attention", "full_attention"],
            pad_token_id=tokens.pad_token_id,
        ),
        vision_config=Gemma4UnifiedVisionConfig(
            patch_size=4, pooling_kernel_size=2, mm_embed_dim=32, mm_posemb_size=80, output_proj_dims=32
        ),
        audio_config=None,
        **gemma4_ids(tokens),
        tie_word_embeddings=False,
    )
    return with_processor(spread(Gemma4UnifiedForConditionalGeneration(config), tokens), processor, "<|image|>")


class Gemma3nTowerConfig(Gemma3nVisionConfig):
    """Settings of the tower that stands for MobileNet, which is in timm."""


class Gemma3nTower(PreTrainedModel):
    """Patches of eight by eight pixels: (images, hidden, rows, columns), as from MobileNet."""

    config_class = Gemma3nTowerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: Gemma3nTowerConfig) -> None:
        super().__init__(config)
        self.patches = Conv2d(3, config.hidden_size, kernel_size=8, stride=8)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutput:
        """Features of the images."""
        return BaseModelOutput(last_hidden_state=self.patches(pixel_values))


AutoModel.register(Gemma3nTowerConfig, Gemma3nTower, exist_ok=True)


def gemma3n() -> Case:
    """Gemma 3n: four streams side by side and embeddings per layer; a tower of its own for want of timm.

    Ids from the end of an image up are embedded by the tower's own table, not the language model's.
    """
    names = ("boi_token", "boa_token", "eoi_token", "image_token", "eoa_token", "audio_token")
    named = {name: GEMMA4_TOKENS[name] for name in names}
    tokens = tokenizer(*named.values(), **named)
    ids = {f"{name}_id": tokens.convert_tokens_to_ids(token) for name, token in named.items()}
    processor = Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        tokens,
        image_seq_length=16,
        audio_seq_length=4,
    )
    config = Gemma3nConfig(
        text_config=Gemma3nTextConfig(
            vocab_size=len(tokens),
            vocab_size_per_layer_input=ids["eoi_token_id"],
            hidden_size_per_layer_input=8,
            **TEXT,
            layer_types=["sliding_attention", "full_attention"],
            num_kv_shared_layers=0,
            laurel_rank=8,
            pad_token_id=tokens.pad_token_id,
        ),
        vision_config=Gemma3nTowerConfig(hidden_size=32, vocab_offset=ids["eoi_token_id"], vocab_size=2),
        audio_config=Gemma3nAudioConfig(
            vocab_offset=ids["eoa_token_id"],
            vocab_size=2,
            hidden_size=32,
            conf_num_attention_heads=4,
            conf_num_hidden_layers=1,
            sscp_conv_channel_size=(8, 8),
        ),
        vision_soft_tokens_per_image=16,
        audio_soft_tokens_per_image=4,
        **ids,
        tie_word_embeddings=False,
    )
    return with_processor(spread(Gemma3nForConditionalGeneration(config), tokens), processor, "<|image|>")


FAMILIES: dict[str, Callable[[], Case]] = {
    "paligemma": paligemma,
    "gemma3n": gemma3n,
    "gemma4": gemma4,
    "gemma4_unified": gemma4_unified,
}
