"""GLM-V's relatives: images of any size between two marks, three-dimensional rotary positions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    Ernie4_5_VLMoeConfig,
    Ernie4_5_VLMoeForConditionalGeneration,
    Ernie4_5_VLMoeProcessor,
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vMoeConfig,
    Glm4vMoeForConditionalGeneration,
    Glm4vProcessor,
    Glm46VConfig,
    Glm46VForConditionalGeneration,
    Glm46VProcessor,
    GlmOcrConfig,
    GlmOcrForConditionalGeneration,
    Kimi_K25Config,
    Kimi_K25ForConditionalGeneration,
    Kimi_K25Processor,
    MiniMaxM3SparseForConditionalGeneration,
    MiniMaxM3VLConfig,
    MiniMaxM3VLProcessor,
    PreTrainedTokenizerFast,
    Step3p7Config,
    Step3p7ForConditionalGeneration,
    Step3p7Processor,
)
from transformers.image_utils import SizeDict
from transformers.models.ernie4_5_vl_moe.image_processing_pil_ernie4_5_vl_moe import Ernie4_5_VLMoeImageProcessorPil
from transformers.models.glm4v.image_processing_pil_glm4v import Glm4vImageProcessorPil
from transformers.models.glm46v.image_processing_pil_glm46v import Glm46VImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.step3p7.image_processing_step3p7 import Step3p7ImageProcessor

from guard.families.case import Case, with_processor
from guard.families.weights import spread
from holisafe._still import still_images_only
from tiny_models import TEXT, tokenizer

IDS = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}
MARK = "<|begin_of_image|><|image|><|end_of_image|>"
ERNIE_IDS = {
    "image_token_id": "<|IMAGE_PLACEHOLDER|>",
    "video_token_id": "<|VIDEO_PLACEHOLDER|>",
    "image_start_token_id": "<|IMAGE_START|>",
    "image_end_token_id": "<|IMAGE_END|>",
    "video_start_token_id": "<|VIDEO_START|>",
    "video_end_token_id": "<|VIDEO_END|>",
}
ERNIE_MARK = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
SIZE = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 32,
}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "patch_size": 8,
    "image_size": 32,
    "out_hidden_size": 32,
}


def glm4v() -> Case:
    """GLM-4.1V: learned positions of the patches, resized to the image."""
    tokens = _tokens()
    config = Glm4vConfig(text_config=_text(tokens), vision_config=VISION, **_ids(tokens, IDS))
    return _case(Glm4vForConditionalGeneration(config), tokens, Glm4vProcessor, Glm4vImageProcessorPil)


def glm46v() -> Case:
    """GLM-4.6V: the parts of GLM-4.1V under a configuration and processor of its own."""
    tokens = _tokens()
    config = Glm46VConfig(
        text_config={**_text(tokens), "model_type": "glm4v_text"},
        vision_config={**VISION, "model_type": "glm4v_vision"},
        **_ids(tokens, IDS),
    )
    return _case(Glm46VForConditionalGeneration(config), tokens, Glm46VProcessor, Glm46VImageProcessorPil)


def glm4v_moe() -> Case:
    """GLM-4.5V: one dense layer and one of experts beside a shared expert."""
    tokens = _tokens()
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "first_k_dense_replace": 1}
    config = Glm4vMoeConfig(text_config={**_text(tokens), **experts}, vision_config=VISION, **_ids(tokens, IDS))
    return _case(Glm4vMoeForConditionalGeneration(config), tokens, Glm4vProcessor, Glm4vImageProcessorPil)


def glm_ocr() -> Case:
    """GLM-OCR: norms around each attention and no learned positions of the patches."""
    tokens = _tokens()
    config = GlmOcrConfig(text_config=_text(tokens), vision_config=VISION, **_ids(tokens, IDS))
    return _case(GlmOcrForConditionalGeneration(config), tokens, Glm46VProcessor, Glm46VImageProcessorPil)


def ernie4_5_vl_moe() -> Case:
    """ERNIE 4.5 VL: text and image tokens (marks included) go to experts of their own."""
    tokens = tokenizer(*ERNIE_IDS.values(), **{name.removesuffix("_id"): token for name, token in ERNIE_IDS.items()})
    text = {key: value for key, value in _text(tokens).items() if key != "head_dim"}
    vision = {key: value for key, value in VISION.items() if key not in ("image_size", "out_hidden_size")}
    config = Ernie4_5_VLMoeConfig(
        text_config={
            **text,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_num_shared_experts": 1,
            "moe_intermediate_size": [24, 16],
        },
        vision_config=vision,
        tie_word_embeddings=False,
        **_ids(tokens, ERNIE_IDS),
    )
    model = Ernie4_5_VLMoeForConditionalGeneration(config)
    return _case(model, tokens, Ernie4_5_VLMoeProcessor, Ernie4_5_VLMoeImageProcessorPil, ERNIE_MARK)


def minimax_m3_vl() -> Case:
    """MiniMax M3: one dense and one expert layer; the image processor is Qwen2-VL's, which lays patches out alike."""
    names = ("]<]image[>[", "]<]video[>[", "]<]start of image[>[", "]<]end of image[>[")
    tokens = tokenizer(*names)
    text = {key: value for key, value in _text(tokens).items() if key != "rope_parameters"}
    config = MiniMaxM3VLConfig(
        text_config={
            **text,
            "rotary_dim": 4,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "dense_intermediate_size": 48,
            "shared_intermediate_size": 24,
            "mlp_layer_types": ["dense", "sparse"],
        },
        vision_config=TOWER,
        image_token_index=tokens.convert_tokens_to_ids(names[0]),
        video_token_index=tokens.convert_tokens_to_ids(names[1]),
        projector_hidden_size=32,
    )
    processor = still_images_only(MiniMaxM3VLProcessor)(Qwen2VLImageProcessorPil(patch_size=8, size=SIZE), tokens, None)
    return with_processor(spread(MiniMaxM3SparseForConditionalGeneration(config), tokens), processor, names[0])


def kimi_k25() -> Case:
    """Kimi K2.5: latent attention; the image processor is Qwen2-VL's with Kimi's order of the patches, row by row."""
    names = ("<|media_pad|>", "<|kimi_k25_video_placeholder|>", "<|media_begin|>", "<|media_content|>", "<|media_end|>")
    tokens = tokenizer(*names, image_token=names[0], video_token=names[1])
    text = {key: value for key, value in _text(tokens).items() if key not in ("rope_parameters", "head_dim")}
    config = Kimi_K25Config(
        text_config={
            "model_type": "deepseek_v3",
            **text,
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 8,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 24,
            "first_k_dense_replace": 1,
        },
        vision_config={
            **{key: value for key, value in TOWER.items() if key != "image_size"},
            "pos_emb_height": 8,
            "pos_emb_width": 8,
        },
        projection_hidden_size=32,
        image_token_id=tokens.convert_tokens_to_ids(names[0]),
        video_token_id=tokens.convert_tokens_to_ids(names[1]),
        vision_start_token_id=tokens.convert_tokens_to_ids(names[2]),
        vision_end_token_id=tokens.convert_tokens_to_ids(names[4]),
        tie_word_embeddings=False,
    )
    processor = still_images_only(Kimi_K25Processor)(_KimiImages(patch_size=8, size=SIZE), tokens, None)
    mark = "<|media_begin|>image<|media_content|><|media_pad|><|media_end|>"
    return with_processor(spread(Kimi_K25ForConditionalGeneration(config), tokens), processor, mark)


class _KimiImages(Qwen2VLImageProcessorPil):
    """Qwen2-VL's image processor with patches in rows, each a small image."""

    temporal_patch_size = 1

    def patchify(
        self, image: np.ndarray, patch_size: int, merge_size: int, temporal_patch_size: int
    ) -> tuple[np.ndarray, int, int]:
        channels, height, width = image.shape
        rows, columns = height // patch_size, width // patch_size
        patches = image.reshape(channels, rows, patch_size, columns, patch_size).transpose(1, 3, 0, 2, 4)
        return patches.reshape(-1, channels, patch_size, patch_size).astype(np.float32), rows, columns


def step3p7() -> Case:
    """Step 3.7: windows of an image, each between marks, a newline mark after each row but the last, then the overview.

    The image processor is the family's own with torch in the place of torchvision.
    """
    names = ("<im_patch>", "<im_start>", "<im_end>", "<patch_start>", "<patch_end>", "<patch_newline>")
    tokens = tokenizer(*names)
    text = {key: value for key, value in _text(tokens).items() if key != "rope_parameters"}
    config = Step3p7Config(
        text_config={
            **text,
            "layer_types": ["sliding_attention", "full_attention"],
            "mlp_layer_types": ["dense", "sparse"],
            "sliding_window": 512,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
            "share_expert_dim": 24,
        },
        vision_config={**TOWER, "image_size": 64, "max_position_embeddings": 64},
        image_token_id=tokens.convert_tokens_to_ids("<im_patch>"),
    )
    image_processor = _StepImages(size={"height": 64, "width": 64}, patch_size=32)
    model = spread(Step3p7ForConditionalGeneration(config), tokens)
    return with_processor(model, Step3p7Processor(image_processor, tokens), "<im_patch>")


class _StepImages(Step3p7ImageProcessor):
    """Step's image processor for a vision tower with small patches, without torchvision."""

    vision_patch_size = 8

    def resize(self, image: torch.Tensor, size: SizeDict, **kwargs: Any) -> torch.Tensor:
        return torch.nn.functional.interpolate(
            image.float(), size=(size.height, size.width), mode="bilinear", antialias=True
        )

    def normalize(self, image: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return (image - mean[:, None, None]) / std[:, None, None]


def _tokens() -> PreTrainedTokenizerFast:
    return tokenizer(*IDS.values(), image_token="<|image|>", video_token="<|video|>")


def _ids(tokens: PreTrainedTokenizerFast, names: dict[str, str]) -> dict[str, int]:
    return {field: tokens.convert_tokens_to_ids(name) for field, name in names.items()}


def _text(tokens: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        **TEXT,
        "vocab_size": len(tokens),
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [1, 1, 2],
            "partial_rotary_factor": 1.0,
        },
    }


def _case(
    model: Any,
    tokens: PreTrainedTokenizerFast,
    family: type[Any],
    image_processor: type[Any],
    mark: str = MARK,
) -> Case:
    # the size counts the two frames that a still image is doubled to
    size = {"shortest_edge": 2 * 16 * 16, "longest_edge": 2 * 64 * 64}
    processor = still_images_only(family)(image_processor(patch_size=8, merge_size=2, size=size), tokens, None)
    case = with_processor(spread(model, tokens), processor, mark)

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        with warnings.catch_warnings():  # these processors make arrays of tensors, about which numpy 2 complains
            warnings.simplefilter("ignore", DeprecationWarning)
            return case.inputs(images, texts)

    return replace(case, inputs=inputs)


FAMILIES: dict[str, Callable[[], Case]] = {
    "glm4v": glm4v,
    "glm46v": glm46v,
    "glm4v_moe": glm4v_moe,
    "glm_ocr": glm_ocr,
    "ernie4_5_vl_moe": ernie4_5_vl_moe,
    "minimax_m3_vl": minimax_m3_vl,
    "kimi_k25": kimi_k25,
    "step3p7": step3p7,
}
