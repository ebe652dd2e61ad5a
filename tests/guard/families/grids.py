"""Families that cut an image of any size into a grid of patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    Dots3NoteAudioConfig,
    Dots3NoteConfig,
    Dots3NoteFeatureExtractor,
    Dots3NoteForConditionalGeneration,
    Dots3NoteProcessor,
    Dots3NoteTextConfig,
    Dots3NoteVisionConfig,
    HyperCLOVAXConfig,
    HyperCLOVAXVisionV2Config,
    HyperCLOVAXVisionV2ForConditionalGeneration,
    HyperCLOVAXVisionV2Processor,
    Inkling2Config,
    Inkling2ForConditionalGeneration,
    Inkling2TextConfig,
    Inkling2VisionConfig,
    Lfm3Config,
    Lfm3VlConfig,
    Lfm3VlForConditionalGeneration,
    Lfm3VlProcessor,
    MuseGlimmerConfig,
    MuseGlimmerForConditionalGeneration,
    MuseGlimmerTextConfig,
    MuseGlimmerVisionConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.lfm3_vl.configuration_lfm3_vl import Lfm3VlVisionConfig
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from guard.families.case import Case, with_processor
from guard.families.others import left_padded
from guard.families.weights import spread
from holisafe._still import still_images_only
from tiny_models import TEXT, VISION, tokenizer

PICTURES = {"patch_size": 8, "merge_size": 2, "size": {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}}


def hyperclovax_vision_v2() -> Case:
    """HyperCLOVA X SEED Think: Qwen2.5-VL's tower before a language model of its own."""
    tokens = tokenizer("<|image_pad|>", "<|video_pad|>", image_token="<|image_pad|>", video_token="<|video_pad|>")
    processor = still_images_only(HyperCLOVAXVisionV2Processor)(Qwen2VLImageProcessorPil(**PICTURES), tokens, None)
    config = HyperCLOVAXVisionV2Config(
        text_config=HyperCLOVAXConfig(vocab_size=len(tokens), **TEXT),
        vision_config=Qwen2_5_VLVisionConfig(
            depth=2,
            hidden_size=32,
            intermediate_size=48,
            num_heads=4,
            patch_size=8,
            out_hidden_size=32,
            window_size=32,
            fullatt_block_indexes=[1],
        ),
        image_token_id=tokens.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokens.convert_tokens_to_ids("<|video_pad|>"),
        tie_word_embeddings=False,
    )
    model = spread(HyperCLOVAXVisionV2ForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<|image_pad|>", "")


def lfm3_vl() -> Case:
    """LFM3-VL: convolutions and attention by turns in both tower and language model."""
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tokens = tokenizer(*names, image_token=names[0], video_token=names[1])
    processor = still_images_only(Lfm3VlProcessor)(Qwen2VLImageProcessorPil(**PICTURES), tokens, None)
    config = Lfm3VlConfig(
        text_config=Lfm3Config(
            vocab_size=len(tokens),
            **TEXT,
            layer_types=["conv", "full_attention"],
            pad_token_id=tokens.pad_token_id,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
        ),
        vision_config=Lfm3VlVisionConfig(
            **{key: value for key, value in VISION.items() if key != "image_size"},
            num_key_value_heads=2,
            layer_types=["conv", "full_attention"],
        ),
        image_token_id=tokens.convert_tokens_to_ids(names[0]),
        video_token_id=tokens.convert_tokens_to_ids(names[1]),
        vision_start_token_id=tokens.convert_tokens_to_ids(names[2]),
        vision_end_token_id=tokens.convert_tokens_to_ids(names[3]),
        projector_hidden_size=48,
        tie_word_embeddings=False,
    )
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    return with_processor(spread(Lfm3VlForConditionalGeneration(config), tokens), processor, mark)


def pixels(image: Image.Image, side: int) -> torch.Tensor:
    """The image, each side made a multiple of `side`: (3, height, width), values in [-1, 1]."""
    width, height = (max(1, round(length / side)) * side for length in image.size)
    values = torch.from_numpy(np.array(image.convert("RGB").resize((width, height))))  # (height, width, 3)
    return values.permute(2, 0, 1) / 127.5 - 1


def squares(values: torch.Tensor, side: int) -> torch.Tensor:
    """Pixels (3, height, width) cut row by row: (rows, columns, 3, side, side)."""
    return values.unfold(1, side, side).unfold(2, side, side).permute(1, 2, 0, 3, 4)


def muse_glimmer() -> Case:
    """Muse Glimmer; its processor needs torchvision: pixels are cut here as it cuts them, rounding sides otherwise."""
    tokens = tokenizer("<|patch|>", "<|image_start|>", "<|image_end|>", "<|video|>")
    config = MuseGlimmerConfig(
        text_config=MuseGlimmerTextConfig(
            vocab_size=len(tokens),
            **TEXT,
            layer_types=["sliding_attention", "full_attention"],
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
        ),
        vision_config=MuseGlimmerVisionConfig(
            **{key: value for key, value in VISION.items() if key != "image_size"},
            pos_emb_height=4,
            pos_emb_width=4,
            max_position_embeddings=16,
            layer_types=["window_attention", "full_attention"],
        ),
        image_token_id=tokens.convert_tokens_to_ids("<|patch|>"),
        video_token_id=tokens.convert_tokens_to_ids("<|video|>"),
        out_hidden_size=128,
        projector_hidden_size=48,
    )

    def cut(image: Image.Image) -> Cut:
        patches = squares(pixels(image, 16), 8)
        rows, columns = patches.shape[:2]
        values = patches.flatten(0, 1).unsqueeze(1).expand(-1, 2, -1, -1, -1).flatten(1)  # (patches, 2 * 3 * 8 * 8)
        placeholders = "<|image_start|>" + "<|patch|>" * (rows * columns // 4) + "<|image_end|>"
        return placeholders, {"pixel_values": values, "image_grid_thw": torch.tensor([[1, rows, columns]])}

    return cut_by_hand(spread(MuseGlimmerForConditionalGeneration(config), tokens), tokens, cut)


def inkling2() -> Case:
    """Inkling 2; its processor needs torchvision: squares are padded with black and cut here as it cuts them."""
    tokens = tokenizer("<|unused_200054|>")
    config = Inkling2Config(
        text_config=Inkling2TextConfig(
            vocab_size=len(tokens),
            unpadded_vocab_size=len(tokens),
            **{key: value for key, value in TEXT.items() if key not in ("intermediate_size", "tie_word_embeddings")},
            swa_num_attention_heads=4,
            swa_num_key_value_heads=2,
            swa_head_dim=8,
            d_rel=4,
            rel_extent=64,
            layer_types=["hybrid_sliding", "hybrid"],
            moe_intermediate_size=24,
            n_routed_experts=4,
            num_experts_per_tok=2,
            n_layers_per_attn_res_block=2,
            eos_token_id=tokens.eos_token_id,
        ),
        vision_config=Inkling2VisionConfig(
            **{key: value for key, value in VISION.items() if key != "image_size"},
            posemb_grid_size=4,
            projection_hidden_dim=48,
            text_hidden_size=32,
        ),
        image_token_id=tokens.convert_tokens_to_ids("<|unused_200054|>"),
    )

    def cut(image: Image.Image) -> Cut:
        values = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 127.5 - 1
        missing = [-length % 16 for length in image.size]
        values = torch.nn.functional.pad(values, (0, missing[0], 0, missing[1]), value=-1 / 127.5 - 1)
        patches = squares(values, 16).permute(0, 1, 3, 4, 2)  # (rows, columns, 16, 16, 3)
        rows, columns = patches.shape[:2]
        grid = torch.tensor([[1, rows, columns]])
        return "<|unused_200054|>" * (rows * columns), {"pixel_values": patches.flatten(0, 1), "image_grid_thw": grid}

    return cut_by_hand(spread(Inkling2ForConditionalGeneration(config), tokens), tokens, cut)


Cut = tuple[str, dict[str, torch.Tensor]]
"""An image's placeholders, and its inputs to the model, images along the first dimension."""


def cut_by_hand(model: Any, tokens: PreTrainedTokenizerFast, cut: Callable[[Image.Image], Cut]) -> Case:
    """A case whose images `cut` makes inputs of."""

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        rows = [[cut(image) for image in row] for row in images]
        prompts = ["\n".join([*(mark for mark, _ in row), text]) for row, text in zip(rows, texts, strict=True)]
        parts = [part for row in rows for _, part in row]
        batch = left_padded(tokens(prompts)["input_ids"], tokens)
        return batch | {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    return Case(model, inputs)


def dots3_note() -> Case:
    """dots3-note: a mixture of experts that attends to a few chosen tokens; its sounds are left out."""
    names = ("<|imgpad|>", "<|video_pad|>", "<|audio_comp_pad|>")
    tokens = tokenizer(*names)
    processor = still_images_only(Dots3NoteProcessor)(
        Qwen2VLImageProcessorPil(**PICTURES, temporal_patch_size=1), tokens, None, Dots3NoteFeatureExtractor()
    )
    config = Dots3NoteConfig(
        text_config=Dots3NoteTextConfig(
            vocab_size=len(tokens),
            **TEXT | {"num_key_value_heads": 4},
            moe_intermediate_size=24,
            n_routed_experts=4,
            num_experts_per_tok=2,
            shared_experts_intermediate_size=24,
            kv_lora_rank=16,
            q_lora_rank=16,
            qk_rope_head_dim=4,
            qk_nope_head_dim=4,
            v_head_dim=8,
            index_topk=8,
            index_head_dim=8,
            index_n_heads=2,
            layer_types=["sliding_attention", "indexed_attention"],
            swa_num_attention_heads=4,
            swa_num_key_value_heads=4,
            swa_q_lora_rank=16,
            swa_kv_lora_rank=16,
            swa_head_dim=8,
            swa_qk_nope_head_dim=4,
            swa_qk_rope_head_dim=4,
            swa_v_head_dim=8,
            mlp_layer_types=["dense", "sparse"],
            pad_token_id=tokens.pad_token_id,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
        ),
        vision_config=Dots3NoteVisionConfig(
            **{key: value for key, value in VISION.items() if key != "image_size"},
            moe_intermediate_size=24,
            mlp_layer_types=["dense", "dense"],
            adapter_in_dim=32,
            adapter_out_dim=32,
        ),
        audio_config=Dots3NoteAudioConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=1,
            num_attention_heads=4,
            downsample_hidden_size=8,
            adapter_input_size=32,
            adapter_out_dim=32,
        ),
        image_token_id=tokens.convert_tokens_to_ids(names[0]),
        video_token_id=tokens.convert_tokens_to_ids(names[1]),
        audio_token_id=tokens.convert_tokens_to_ids(names[2]),
    )
    return with_processor(spread(Dots3NoteForConditionalGeneration(config), tokens), processor, "<|imgpad|>")


FAMILIES: dict[str, Callable[[], Case]] = {
    "hyperclovax_vision_v2": hyperclovax_vision_v2,
    "lfm3_vl": lfm3_vl,
    "muse_glimmer": muse_glimmer,
    "inkling2": inkling2,
    "dots3_note": dots3_note,
}
