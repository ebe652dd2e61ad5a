"""Qwen-VL's relatives: images of any size, as many tokens as they have merged patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from transformers import (
    Exaone4_5_Config,
    Exaone4_5_ForConditionalGeneration,
    Exaone4_5_Processor,
    HunYuanVLConfig,
    HunYuanVLForConditionalGeneration,
    HunYuanVLProcessor,
    MiniCPMV4_6Config,
    MiniCPMV4_6ForConditionalGeneration,
    MiniCPMV4_6Processor,
    PaddleOCRVLConfig,
    PaddleOCRVLForConditionalGeneration,
    PaddleOCRVLProcessor,
    PreTrainedTokenizerFast,
    QianfanOCRConfig,
    QianfanOCRForConditionalGeneration,
    QianfanOCRProcessor,
    Qwen2_5OmniProcessor,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5MoeConfig,
    Qwen3_5MoeForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLProcessor,
    VideoLlama3Config,
    VideoLlama3ForConditionalGeneration,
    VideoLlama3Processor,
    WhisperFeatureExtractor,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.hunyuan_vl.image_processing_pil_hunyuan_vl import HunYuanVLImageProcessorPil
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil
from transformers.models.paddleocr_vl.image_processing_pil_paddleocr_vl import PaddleOCRVLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.video_llama_3.image_processing_pil_video_llama_3 import VideoLlama3ImageProcessorPil

from guard.families.case import Case, with_processor
from guard.families.weights import spread
from holisafe._still import still_images_only
from tiny_models import TEXT, tokenizer

NAMES = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
MARK = "<|vision_start|><|image_pad|><|vision_end|>"
SIZE = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "patch_size": 8,
    "out_hidden_size": 32,
}
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 32,
}
KINDS = ("image", "video", "audio")
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def qwen2_vl() -> Case:
    """Qwen2-VL: three-dimensional rotary positions in sections."""
    tokens = _tokens()
    text = {key: value for key, value in TEXT.items() if key != "head_dim"}
    config = Qwen2VLConfig(
        text_config={**text, **_vocabulary(tokens), "rope_parameters": _rope([1, 1, 2])},
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 8},
        **_marks(tokens),
    )
    return _case(Qwen2VLForConditionalGeneration(config), tokens, Qwen2VLProcessor)


def qwen3_vl() -> Case:
    """Qwen3-VL: interleaved rotary positions, features of earlier vision layers added in the first text layers."""
    tokens = _tokens()
    config = Qwen3VLConfig(
        text_config={**TEXT, **_vocabulary(tokens), "rope_parameters": _rope([2, 1, 1], mrope_interleaved=True)},
        vision_config={**VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        **_marks(tokens),
    )
    return _case(Qwen3VLForConditionalGeneration(config), tokens, Qwen3VLProcessor)


def qwen3_vl_moe() -> Case:
    """Qwen3-VL with experts: as Qwen3-VL, every text layer a mixture."""
    tokens = _tokens()
    text = {**TEXT, **_vocabulary(tokens), **EXPERTS, "rope_parameters": _rope([2, 1, 1], mrope_interleaved=True)}
    config = Qwen3VLMoeConfig(
        text_config=text,
        vision_config={**VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        **_marks(tokens),
    )
    return _case(Qwen3VLMoeForConditionalGeneration(config), tokens, Qwen3VLProcessor)


def qwen3_5() -> Case:
    """Qwen3.5: one layer of linear attention and one of full attention."""
    tokens = _tokens()
    config = Qwen3_5Config(
        text_config={**_linear_and_full(), **_vocabulary(tokens)},
        vision_config={**VISION, "num_position_embeddings": 16},
        **_marks(tokens),
    )
    return _case(Qwen3_5ForConditionalGeneration(config), tokens, Qwen3VLProcessor)


def qwen3_5_moe() -> Case:
    """Qwen3.5 with experts: as Qwen3.5, every text layer a mixture beside a shared expert."""
    tokens = _tokens()
    text = {**_linear_and_full(), **_vocabulary(tokens), **EXPERTS, "shared_expert_intermediate_size": 24}
    config = Qwen3_5MoeConfig(
        text_config={key: value for key, value in text.items() if key != "intermediate_size"},
        vision_config={**VISION, "num_position_embeddings": 16},
        **_marks(tokens),
    )
    return _case(Qwen3_5MoeForConditionalGeneration(config), tokens, Qwen3VLProcessor)


def video_llama_3() -> Case:
    """VideoLLaMA 3: an image's tokens without marks around them."""
    tokens = _tokens()
    config = VideoLlama3Config(
        text_config={"model_type": "qwen2", **TEXT, **_vocabulary(tokens)},
        vision_config={key: value for key, value in TOWER.items() if key != "image_size"},
        image_token_id=tokens.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokens.convert_tokens_to_ids("<|video_pad|>"),
    )
    image_processor = VideoLlama3ImageProcessorPil(patch_size=8, merge_size=2, size=SIZE)
    processor = still_images_only(VideoLlama3Processor)(image_processor, tokens, None)
    return with_processor(spread(VideoLlama3ForConditionalGeneration(config), tokens), processor, "<|image_pad|>")


def paddleocr_vl() -> Case:
    """PaddleOCR-VL: ERNIE's language model and a SigLIP tower for images of any size."""
    names = ("<|IMAGE_PLACEHOLDER|>", "<|video_pad|>", "<|IMAGE_START|>", "<|IMAGE_END|>")
    tokens = tokenizer(*names, image_token=names[0])
    config = PaddleOCRVLConfig(
        text_config={**TEXT, **_vocabulary(tokens), "rope_parameters": _rope([2, 1, 1])},
        vision_config=TOWER,
        tie_word_embeddings=False,
        **_marks(tokens, names),
    )
    image_processor = PaddleOCRVLImageProcessorPil(patch_size=8, merge_size=2, size=SIZE)
    model = spread(PaddleOCRVLForConditionalGeneration(config), tokens)
    return with_processor(model, PaddleOCRVLProcessor(image_processor, tokens), "".join(names[i] for i in (2, 0, 3)))


def hunyuan_vl() -> Case:
    """HunYuan-VL: an image's begin, its rows with a newline after each, and its end, all at the image's placeholder.

    One of its rotary axes counts the images of the whole batch, so a row depends on how many images come before it.
    """
    names = {"image_token": "<image>", "image_start_token": "<image_start>", "image_end_token": "<image_end>"}
    tokens = tokenizer(*names.values(), **names)
    config = HunYuanVLConfig(
        text_config={**TEXT, **_vocabulary(tokens), "rope_parameters": _rope([1, 1, 1, 1])},
        vision_config={
            **{key: value for key, value in TOWER.items() if key != "image_size"},
            "out_hidden_size": 32,
            "max_image_size": 64,
        },
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        im_start_id=tokens.convert_tokens_to_ids("<image_start>"),
        im_end_id=tokens.convert_tokens_to_ids("<image_end>"),
        tie_word_embeddings=False,
    )
    processor = HunYuanVLProcessor(HunYuanVLImageProcessorPil(patch_size=8, merge_size=2, size=SIZE), tokens)
    model = spread(HunYuanVLForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<image_start><image><image_end>")


def exaone4_5() -> Case:
    """EXAONE 4.5: a Qwen2.5-VL tower before one sliding and one full layer."""
    names = ("<|image_pad|>", "<|video_pad|>", "<vision>", "</vision>")
    tokens = tokenizer(*names, image_token=names[0], video_token=names[1])
    text = {"model_type": "exaone4", **TEXT, "layer_types": ["sliding_attention", "full_attention"]}
    config = Exaone4_5_Config(
        text_config={**text, "sliding_window": 512, **_vocabulary(tokens)},
        vision_config={**VISION, "num_key_value_heads": 2, "window_size": 32, "fullatt_block_indexes": [1]},
        image_token_id=tokens.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokens.convert_tokens_to_ids("<|video_pad|>"),
    )
    model = Exaone4_5_ForConditionalGeneration(config)
    return _case(model, tokens, Exaone4_5_Processor, "<vision><|image_pad|></vision>")


def qwen2_5_omni_thinker() -> Case:
    """Qwen2.5-Omni's thinker: Qwen2.5-VL beside an audio encoder, which stays silent here."""
    names = {
        "image_token": "<|IMAGE|>",
        "video_token": "<|VIDEO|>",
        "audio_token": "<|AUDIO|>",
        "vision_bos_token": "<|vision_bos|>",
        "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>",
        "audio_eos_token": "<|audio_eos|>",
    }
    tokens = tokenizer(*names.values(), **names)
    text = {key: value for key, value in TEXT.items() if key != "head_dim"}
    config = Qwen2_5OmniThinkerConfig(
        text_config={**text, **_vocabulary(tokens), "rope_parameters": _rope([1, 1, 2])},
        vision_config={**VISION, "window_size": 32, "fullatt_block_indexes": [1]},
        audio_config={
            "num_mel_bins": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "d_model": 32,
            "output_dim": 32,
        },
        **{f"{kind}_token_index": tokens.convert_tokens_to_ids(names[f"{kind}_token"]) for kind in KINDS},
        vision_start_token_id=tokens.convert_tokens_to_ids("<|vision_bos|>"),
        vision_end_token_id=tokens.convert_tokens_to_ids("<|vision_eos|>"),
        audio_start_token_id=tokens.convert_tokens_to_ids("<|audio_bos|>"),
        audio_end_token_id=tokens.convert_tokens_to_ids("<|audio_eos|>"),
    )
    processor = still_images_only(Qwen2_5OmniProcessor)(
        image_processor=Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, size=SIZE),
        feature_extractor=WhisperFeatureExtractor(feature_size=16),
        tokenizer=tokens,
    )
    model = spread(Qwen2_5OmniThinkerForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<|vision_bos|><|IMAGE|><|vision_eos|>")


def minicpmv4_6() -> Case:
    """MiniCPM-V 4.6: a numbered overview and slices of one image, each between marks, before Qwen3.5."""
    names = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    }
    tokens = tokenizer(*names.values(), **names)
    config = MiniCPMV4_6Config(
        text_config={"model_type": "qwen3_5_text", **_linear_and_full(), **_vocabulary(tokens)},
        vision_config={**TOWER, "patch_size": 4},
        insert_layer_id=0,
        image_size=32,
        image_token_id=tokens.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokens.convert_tokens_to_ids("<|video_pad|>"),
    )
    image_processor = MiniCPMV4_6ImageProcessorPil(patch_size=4, scale_resolution=32, max_slice_nums=4)
    processor = still_images_only(MiniCPMV4_6Processor)(image_processor, None, tokens)
    return with_processor(spread(MiniCPMV4_6ForConditionalGeneration(config), tokens), processor, "<|image_pad|>")


def qianfan_ocr() -> Case:
    """Qianfan-OCR: InternVL's tiles, all tiles of an image and its overview in one run."""
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokens = tokenizer(*names.values(), **names)
    config = QianfanOCRConfig(
        text_config={"model_type": "qwen3", **TEXT, **_vocabulary(tokens)},
        vision_config=TOWER,
        image_token_id=tokens.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    image_processor = GotOcr2ImageProcessorPil(size={"height": 32, "width": 32}, max_patches=4)
    processor = QianfanOCRProcessor(image_processor, tokens, image_seq_length=4)
    return with_processor(spread(QianfanOCRForConditionalGeneration(config), tokens), processor, "<image>")


def _tokens() -> PreTrainedTokenizerFast:
    return tokenizer(*NAMES, image_token="<|image_pad|>", video_token="<|video_pad|>")


def _vocabulary(tokens: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokens),
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "pad_token_id": tokens.pad_token_id,
    }


def _marks(tokens: PreTrainedTokenizerFast, names: Sequence[str] = NAMES) -> dict[str, int]:
    fields = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return {field: tokens.convert_tokens_to_ids(name) for field, name in zip(fields, names, strict=True)}


def _rope(section: list[int], **more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": section, **more}


def _linear_and_full() -> dict[str, Any]:
    return {
        **TEXT,
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "rope_parameters": _rope([2, 1, 1], mrope_interleaved=True, partial_rotary_factor=0.5),
    }


def _case(model: Any, tokens: PreTrainedTokenizerFast, family: type[Any], mark: str = MARK) -> Case:
    image_processor = Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, size=SIZE)
    return with_processor(spread(model, tokens), still_images_only(family)(image_processor, tokens, None), mark)


FAMILIES: dict[str, Callable[[], Case]] = {
    "qwen2_vl": qwen2_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": qwen3_vl_moe,
    "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_5_moe,
    "video_llama_3": video_llama_3,
    "paddleocr_vl": paddleocr_vl,
    "hunyuan_vl": hunyuan_vl,
    "exaone4_5": exaone4_5,
    "minicpmv4_6": minicpmv4_6,
    "qianfan_ocr": qianfan_ocr,
    "qwen2_5_omni_thinker": qwen2_5_omni_thinker,
}
