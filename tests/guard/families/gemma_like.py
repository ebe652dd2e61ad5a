"""Gemma's relatives: an image's tokens look at each other in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from transformers import (
    BatchFeature,
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
    PreTrainedTokenizerFast,
    ProcessorMixin,
    SiglipVisionConfig,
)
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from guard.families.case import Case, with_processor
from guard.families.weights import spread
from holisafe.models._still import still_images_only
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


class VideoProcessorDropped(ProcessorMixin):
    """Takes the keyword that Gemma 4's processors hand on by name, and that a processor of stills has no place for."""

    def __init__(self, *parts: Any, video_processor: None = None, **named: Any) -> None:
        super().__init__(*parts, **named)


class Gemma4Stills(still_images_only(Gemma4Processor), VideoProcessorDropped):  # type: ignore[misc]
    """Gemma 4's processor for still images."""


class Gemma4UnifiedStills(still_images_only(Gemma4UnifiedProcessor), VideoProcessorDropped):  # type: ignore[misc]
    """Gemma 4's processor for still images where there is no vision tower."""


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
    processor = Gemma4Stills(
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
    processor = Gemma4UnifiedStills(
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


FAMILIES: dict[str, Callable[[], Case]] = {
    "paligemma": paligemma,
    "gemma4": gemma4,
    "gemma4_unified": gemma4_unified,
}
