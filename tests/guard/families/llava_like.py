"""LLaVA's relatives: one run of image tokens for each image, with no markers of its own around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from transformers import (
    Blip2QFormerConfig,
    CLIPVisionConfig,
    ConvNextConfig,
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    Granite4VisionProcessor,
    Granite4VisionTextConfig,
    LightOnOcrConfig,
    LightOnOcrForConditionalGeneration,
    LightOnOcrProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaProcessor,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PerceptionLMConfig,
    PerceptionLMForConditionalGeneration,
    PerceptionLMProcessor,
    PixtralVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
    VideoLlavaConfig,
    VideoLlavaForConditionalGeneration,
    VideoLlavaProcessor,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil
from transformers.models.video_llava.image_processing_video_llava import VideoLlavaImageProcessor
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import tiny_models
from guard.families.case import Case, Inputs, with_processor
from guard.families.weights import spread
from holisafe._still import still_images_only
from holisafe.models.pocket._vision import EfficientNetLiteConfig
from tiny_models import TEXT, VISION, tokenizer

CROP: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
PINPOINTS = [[32, 64], [64, 32], [64, 64]]


def llava() -> Case:
    """LLaVA 1.5: the tests' own tiny model."""
    tiny = tiny_models.llava()
    return with_processor(tiny.model, tiny.processor, "<image>")


def llava_onevision() -> Case:
    """LLaVA-OneVision: the tests' own tiny model."""
    tiny = tiny_models.llava_onevision()
    return with_processor(tiny.model, tiny.processor, "<image>")


def qwen2_5_vl() -> Case:
    """Qwen2.5-VL: the tests' own tiny model."""
    tiny = tiny_models.qwen2_5_vl()
    model = spread(tiny.model, tiny.processor.tokenizer)
    return with_processor(model, tiny.processor, "<|vision_start|><|image_pad|><|vision_end|>", separator="")


def gemma3() -> Case:
    """Gemma 3: the tests' own tiny model."""
    tiny = tiny_models.gemma3()
    return with_processor(tiny.model, tiny.processor, "<start_of_image>", separator="")


def smolvlm() -> Case:
    """SmolVLM: the tests' own tiny model."""
    tiny = tiny_models.smolvlm()
    return with_processor(tiny.model, tiny.processor, "<image>", separator="")


def llava_next() -> Case:
    """LLaVA-NeXT: an overview and the tiles with a newline feature after each row, all as one run."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(**CROP, image_grid_pinpoints=PINPOINTS),
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        image_token_index=processor.image_token_id,
        image_grid_pinpoints=PINPOINTS,
    )
    return with_processor(spread(LlavaNextForConditionalGeneration(config), tokens), processor, "<image>")


def llava_next_video() -> Case:
    """LLaVA-NeXT-Video, asked about still images: laid out as by LLaVA-NeXT."""
    tokens = tokenizer("<image>", "<video>", image_token="<image>", video_token="<video>")
    processor = still_images_only(LlavaNextVideoProcessor)(
        None,
        LlavaNextImageProcessorPil(**CROP, image_grid_pinpoints=PINPOINTS),
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    config = LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        image_token_index=processor.image_token_id,
        video_token_index=processor.video_token_id,
        image_grid_pinpoints=PINPOINTS,
    )
    return with_processor(spread(LlavaNextVideoForConditionalGeneration(config), tokens), processor, "<image>")


def pocket() -> Case:
    """Pocket: LLaVA with one global and n × n local tokens from a convolutional tower, here for small images."""
    side, grid = 64, 2
    tokens = tokenizer("<image>", image_token="<image>")
    processor = LlavaProcessor(
        ViTImageProcessorPil(size={"height": side, "width": side}),
        tokens,
        patch_size=side // grid,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="full",
    )
    config = LlavaConfig(
        vision_config=EfficientNetLiteConfig(hidden_size=32, image_size=side, grid=grid),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return with_processor(spread(LlavaForConditionalGeneration(config), tokens), processor, "<image>")


def vipllava() -> Case:
    """ViP-LLaVA: LLaVA's processor, and several layers of CLIP side by side."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(**CROP),
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    config = VipLlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        image_token_index=processor.image_token_id,
        vision_feature_layer=[-2, -1, 1],
    )
    return with_processor(spread(VipLlavaForConditionalGeneration(config), tokens), processor, "<image>")


def video_llava() -> Case:
    """Video-LLaVA, asked about still images: all of CLIP's tokens but the first."""
    tokens = tokenizer("<image>", "<video>", image_token="<image>", video_token="<video>")
    image_processor = VideoLlavaImageProcessor(**CROP)
    processor = still_images_only(VideoLlavaProcessor)(image_processor, None, tokens, patch_size=8)
    config = VideoLlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        image_token_index=processor.image_token_id,
        video_token_index=processor.video_token_id,
    )
    model = spread(VideoLlavaForConditionalGeneration(config), tokens)

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        prompts = ["<image>\n" * len(row) + text for row, text in zip(images, texts, strict=True)]
        flat = [image for row in images for image in row]
        return dict(processor(text=prompts, images=flat, padding=True, padding_side="left"))

    return Case(model, inputs, processor)


def fast_vlm() -> Case:
    """FastVLM: LLaVA's processor and a convolutional tower, here ConvNeXT's for want of timm."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = LlavaProcessor(
        CLIPImageProcessorPil(**CROP), tokens, patch_size=8, vision_feature_select_strategy="full"
    )
    config = FastVlmConfig(
        vision_config=ConvNextConfig(patch_size=8, num_stages=1, hidden_sizes=[32], depths=[2], hidden_size=32),
        text_config=Qwen2Config(vocab_size=len(tokens), **TEXT),
        image_token_index=processor.image_token_id,
    )
    return with_processor(spread(FastVlmForConditionalGeneration(config), tokens), processor, "<image>")


def perception_lm() -> Case:
    """PerceptionLM, one tile an image: images side by side with nothing between, a CLIP tower for want of timm."""

    class OneTile(CLIPImageProcessorPil):
        def preprocess(self, images: Any, **options: Any) -> Any:
            seen = super().preprocess(images, **options)
            seen["pixel_values"] = seen["pixel_values"].unsqueeze(1)  # (images, tiles, channels, height, width)
            return seen

    names = ("<|image|>", "<|video|>")
    tokens = tokenizer(*names, image_token=names[0], video_token=names[1])
    processor = still_images_only(PerceptionLMProcessor)(None, OneTile(**CROP), tokens, patch_size=8)
    config = PerceptionLMConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32, model_args={"embed_dim": 32}),
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        projector_pooling_ratio=2,
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
    )
    model = spread(PerceptionLMForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<|image|>", separator="")


def granite4_vision() -> Case:
    """Granite 4 Vision: LLaVA-NeXT's layout, the image's features added at several layers of the language model."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = Granite4VisionProcessor(
        LlavaNextImageProcessorPil(**CROP, image_grid_pinpoints=PINPOINTS),
        tokens,
        patch_size=8,
        vision_feature_select_strategy="full",
        downsample_rate="1/2",
    )
    wide = {**VISION, "hidden_size": 64}  # the Q-Former has one head for every 64 dimensions
    config = Granite4VisionConfig(
        vision_config=SiglipVisionConfig(**wide, vision_use_head=False),
        text_config=Granite4VisionTextConfig(
            vocab_size=len(tokens), **{key: value for key, value in TEXT.items() if key != "head_dim"}
        ),
        qformer_config=Blip2QFormerConfig(
            num_hidden_layers=1,
            intermediate_size=48,
            cross_attention_frequency=1,
            use_qformer_text_input=False,
        ),
        image_token_index=processor.image_token_id,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=PINPOINTS,
        downsample_rate="1/2",
        deepstack_layer_map=[[-2, 0]],
        spatial_target_layers=[1],
    )
    return with_processor(spread(Granite4VisionForConditionalGeneration(config), tokens), processor, "<image>")


def llava_pixtral() -> Case:
    """LLaVA with Pixtral's tower: rows of image tokens, laid out by hand for want of torchvision."""
    tokens = tokenizer(*PIXTRAL)
    config = LlavaConfig(
        vision_config=pixtral_tower(),
        text_config=MistralConfig(vocab_size=len(tokens), sliding_window=None, **TEXT),
        image_token_id=tokens.convert_tokens_to_ids("[IMG]"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    model = spread(LlavaForConditionalGeneration(config), tokens)
    return Case(model, rows_of_patches(tokens, patch=8))


def mistral3() -> Case:
    """Mistral Small 3.1: Pixtral's rows, two by two patches merged, laid out by hand for want of torchvision."""
    tokens = tokenizer(*PIXTRAL)
    config = Mistral3Config(
        vision_config=pixtral_tower(),
        text_config=MistralConfig(vocab_size=len(tokens), sliding_window=None, **TEXT),
        image_token_index=tokens.convert_tokens_to_ids("[IMG]"),
        tie_word_embeddings=False,
    )
    model = spread(Mistral3ForConditionalGeneration(config), tokens)
    return Case(model, rows_of_patches(tokens, patch=16))


def lighton_ocr() -> Case:
    """LightOnOCR: Pixtral's tower, but an image's tokens in one run without breaks."""
    names = ("<|image_pad|>", "<|vision_pad|>", "<|vision_end|>")
    tokens = tokenizer(*names, image_token=names[0], image_break_token=names[1], image_end_token=names[2])
    processor = LightOnOcrProcessor(
        PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size={"height": 16, "width": 16}),
        tokens,
        patch_size=8,
        spatial_merge_size=2,
    )
    config = LightOnOcrConfig(
        vision_config=pixtral_tower(),
        text_config=Qwen3Config(vocab_size=len(tokens), **TEXT),
        image_token_id=processor.image_token_id,
        tie_word_embeddings=False,
    )
    return with_processor(spread(LightOnOcrForConditionalGeneration(config), tokens), processor, "<|image_pad|>")


PIXTRAL = ("[IMG]", "[IMG_BREAK]", "[IMG_END]")


def pixtral_tower() -> PixtralVisionConfig:
    return PixtralVisionConfig(**{**VISION, "image_size": 64})


def rows_of_patches(tokens: PreTrainedTokenizerFast, patch: int) -> Inputs:
    """Inputs as `PixtralProcessor` lays them out: a break after each row of `patch` pixels, an end after the last."""
    image_processor = PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size={"height": patch, "width": patch})

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        seen = image_processor([image for row in images for image in row], return_tensors="pt")
        spans = []
        for height, width in seen["image_sizes"].tolist():
            row_of_tokens = "[IMG]" * (width // patch)
            spans.append("[IMG_BREAK]".join([row_of_tokens] * (height // patch)) + "[IMG_END]")
        following = iter(spans)
        prompts = ["".join(next(following) for _ in row) + text for row, text in zip(images, texts, strict=True)]
        return {**tokens(prompts, padding=True, padding_side="left", return_tensors="pt"), **seen}

    return inputs


FAMILIES: dict[str, Callable[[], Case]] = {
    "llava": llava,
    "llava_onevision": llava_onevision,
    "qwen2_5_vl": qwen2_5_vl,
    "gemma3": gemma3,
    "smolvlm": smolvlm,
    "llava_next": llava_next,
    "llava_next_video": llava_next_video,
    "pocket": pocket,
    "vipllava": vipllava,
    "video_llava": video_llava,
    "fast_vlm": fast_vlm,
    "perception_lm": perception_lm,
    "granite4_vision": granite4_vision,
    "llava_pixtral": llava_pixtral,
    "mistral3": mistral3,
    "lighton_ocr": lighton_ocr,
}
