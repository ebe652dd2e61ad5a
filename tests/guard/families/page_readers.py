"""Families that read pages: an image's tiles, with or without a view of the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    DeepseekOcr2Config,
    DeepseekOcr2ForConditionalGeneration,
    DeepseekOcr2Processor,
    DeepseekOcr2TextConfig,
    DeepseekOcr2VisionConfig,
    MiniCPMOcrConfig,
    MiniCPMOcrForConditionalGeneration,
    MiniCPMOcrProcessor,
    MiniCPMOcrVisionConfig,
    Molmo2AdapterConfig,
    Molmo2Config,
    Molmo2ForConditionalGeneration,
    Molmo2TextConfig,
    Molmo2VisionConfig,
    NemotronH_Omni_Reasoning_V3,
    NemotronH_Omni_Reasoning_V3_Config,
    NemotronHConfig,
    Qwen3_5TextConfig,
    RadioConfig,
    UnlimitedOcrConfig,
    UnlimitedOcrForConditionalGeneration,
    UnlimitedOcrProcessor,
    UnlimitedOcrTextConfig,
    UnlimitedOcrVisionConfig,
)
from transformers.models.deepseek_ocr2.image_processing_pil_deepseek_ocr2 import (
    DeepseekOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)
from transformers.models.minicpmv4_6.image_processing_pil_minicpmv4_6 import MiniCPMV4_6ImageProcessorPil

from guard.families.case import Case, with_processor
from guard.families.grids import Cut, cut_by_hand, pixels, squares
from guard.families.others import left_padded
from guard.families.weights import spread
from holisafe._still import still_images_only
from tiny_models import TEXT, VISION, tokenizer

SAM = {
    "hidden_size": 32,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "mlp_dim": 48,
    "window_size": 4,
    "global_attn_indexes": [1],
}
EXPERTS = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 24,
    "n_group": 1,
    "topk_group": 1,
    "mlp_layer_types": ["dense", "sparse"],
}


def deepseek_ocr2() -> Case:
    """DeepSeek-OCR 2: 144 queries a tile, then 144 for the whole page, then one separator."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = DeepseekOcr2Processor(
        DeepseekOcr2ImageProcessorPil(size={"height": 48, "width": 48}, tile_size=48),
        tokens,
        patch_size=1,  # sides of 48 / 1 / 4 = 12 queries, as many as the model has at this size
    )
    processor.images_kwargs = {"crop_to_patches": True, "min_patches": 2, "max_patches": 2}  # the class says 6
    config = DeepseekOcr2Config(
        text_config=DeepseekOcr2TextConfig(vocab_size=len(tokens), **TEXT, **EXPERTS),
        vision_config=DeepseekOcr2VisionConfig(
            sam_config={**SAM, "image_size": 48, "patch_size": 4, "downsample_channels": [16, 32]},
            encoder_config={key: value for key, value in TEXT.items() if key != "head_dim"},
        ),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
    )
    return with_processor(spread(DeepseekOcr2ForConditionalGeneration(config), tokens), processor, "<image>")


def unlimited_ocr() -> Case:
    """Unlimited-OCR: tiles, then the whole page, each row of either closed by a learnt token.

    Its image processor needs torchvision; DeepSeek-OCR 2's cuts the same tiles.
    """
    tokens = tokenizer("<image>", image_token="<image>")
    pictures = DeepseekOcr2ImageProcessorPil(size={"height": 32, "width": 32}, tile_size=32, max_patches=6)
    processor = UnlimitedOcrProcessor(pictures, tokens, patch_size=4)
    config = UnlimitedOcrConfig(
        text_config=UnlimitedOcrTextConfig(
            vocab_size=len(tokens),
            **TEXT,
            **EXPERTS,
            layer_types=["reference_sliding_attention", "full_attention"],
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
        ),
        vision_config=UnlimitedOcrVisionConfig(
            sam_config={**SAM, "image_size": 32, "patch_size": 4, "downsample_channels": [16, 32]},
            encoder_config={**VISION, "patch_size": 16},
        ),
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
    )
    model = spread(UnlimitedOcrForConditionalGeneration(config), tokens)

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        flat = [image for row in images for image in row]
        processed = pictures(flat, return_tensors="pt")
        processed["num_local_patches"] = processed["num_local_patches"].tolist()
        processed["patches_grid"] = [
            get_optimal_tiled_canvas(image.size[::-1], (32, 32), 2, 6) if tiles else (1, 1)
            for image, tiles in zip(flat, processed["num_local_patches"], strict=True)
        ]
        marks = (processor.replace_image_token(processed, place) for place in range(len(flat)))
        prompts = ["\n".join([*(next(marks) for _ in row), text]) for row, text in zip(images, texts, strict=True)]
        return left_padded(tokens(prompts)["input_ids"], tokens) | dict(processed)

    return Case(model, inputs)


def minicpm_ocr() -> Case:
    """MiniCPM-OCR: an overview, then slices row by row, after the image's number in the row.

    Its image processor needs torchvision; MiniCPM-V 4.6's cuts the same slices.
    """
    named = {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    }
    tokens = tokenizer(*named.values(), **named)
    pictures = MiniCPMV4_6ImageProcessorPil(patch_size=8, scale_resolution=32, downsample_mode="4x")
    processor = still_images_only(MiniCPMOcrProcessor)(pictures, None, tokens)
    config = MiniCPMOcrConfig(
        text_config=Qwen3_5TextConfig(
            vocab_size=len(tokens),
            **TEXT,
            layer_types=["linear_attention", "full_attention"],
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
        ),
        vision_config=MiniCPMOcrVisionConfig(**VISION),
        insert_layer_id=0,
        image_token_id=tokens.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokens.convert_tokens_to_ids("<|video_pad|>"),
        tie_word_embeddings=False,
    )
    return with_processor(spread(MiniCPMOcrForConditionalGeneration(config), tokens), processor, "<|image_pad|>")


def molmo2() -> Case:
    """Molmo 2: the whole image, then its crops pooled together, each row of either closed by a token.

    Its processor needs torchvision: crops are cut here without overlap, as many as come near the image's own size.
    All tokens of a row's images look at each other.
    """
    names = ("<im_patch>", "<im_col>", "<im_start>", "<low_res_im_start>", "<im_end>", "<frame_start>", "<frame_end>")
    tokens = tokenizer(*names)
    ids = {name: tokens.convert_tokens_to_ids(name) for name in names}
    config = Molmo2Config(
        text_config=Molmo2TextConfig(
            vocab_size=len(tokens) - len(names),
            additional_vocab_size=len(names),
            **TEXT,
        ),
        vision_config=Molmo2VisionConfig(**VISION | {"image_size": [32, 32]}, num_key_value_heads=4, head_dim=8),
        adapter_config=Molmo2AdapterConfig(
            vision_feature_layer=[1, 0],
            hidden_size=32,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=8,
            intermediate_size=48,
            text_hidden_size=32,
        ),
        image_patch_id=ids["<im_patch>"],
        image_start_token_id=ids["<im_start>"],
        low_res_image_start_token_id=ids["<low_res_im_start>"],
        image_end_token_id=ids["<im_end>"],
        frame_start_token_id=ids["<frame_start>"],
        frame_end_token_id=ids["<frame_end>"],
    )
    model = spread(Molmo2ForConditionalGeneration(config), tokens)

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        crops, pools, grids, prompts = [], [], [], []
        before = 0
        for row, text in zip(images, texts, strict=True):
            prompt = "<bos>"
            for image in row:
                tiles = tiles_of(image, 32)
                rows, columns = tiles.shape[:2]
                views = torch.cat([pixels(image.resize((32, 32)), 32).unsqueeze(0), tiles.flatten(0, 1)])
                patches = torch.stack([squares(view, 8).flatten(0, 1) for view in views])  # (views, 16, 3, 8, 8)
                crops.append(patches.permute(0, 1, 3, 4, 2).flatten(2))
                order = torch.arange(rows * columns * 16).view(rows, columns, 4, 4).transpose(1, 2)
                order = order.reshape(rows * 4, columns * 4) + 16
                pools.extend(pooled(grid) + before for grid in (torch.arange(16).view(4, 4), order))
                before += patches.shape[0] * 16
                grids.append([2, 2, rows * 2, columns * 2])
                prompt += "<low_res_im_start>" + "<im_patch><im_patch><im_col>" * 2 + "<im_end>"
                prompt += "<im_start>" + ("<im_patch>" * columns * 2 + "<im_col>") * rows * 2 + "<im_end>"
            prompts.append(prompt + text)
        batch = left_padded(tokens(prompts)["input_ids"], tokens)
        return batch | {
            "mm_token_type_ids": torch.isin(batch["input_ids"], torch.tensor(list(ids.values()))).long(),
            "pixel_values": torch.cat(crops),
            "image_token_pooling": torch.cat(pools),
            "image_grids": torch.tensor(grids),
            "image_num_crops": torch.tensor([len(crop) for crop in crops]),
        }

    return Case(model, inputs)


def tiles_of(image: Image.Image, side: int) -> torch.Tensor:
    """The image in at most two rows or columns of square tiles: (rows, columns, 3, side, side)."""
    width, height = (min(max(1, round(length / side)), 2) * side for length in image.size)
    return squares(pixels(image.resize((width, height)), side), side)


def pooled(grid: torch.Tensor) -> torch.Tensor:
    """Numbers of patches (height, width) in groups of two by two: (height * width / 4, 4)."""
    return grid.unfold(0, 2, 2).unfold(1, 2, 2).reshape(-1, 4)


def nemotron_h_omni() -> Case:
    """Nemotron 3 Nano Omni: RADIO before Mamba, attention and experts.

    Its processor needs torchvision: pixels are cut here as it cuts them, rounding sides otherwise.
    """
    tokens = tokenizer("<image>", "<img>", "</img>", "<video>")
    config = NemotronH_Omni_Reasoning_V3_Config(
        text_config=NemotronHConfig(
            vocab_size=len(tokens),
            **{key: value for key, value in TEXT.items() if key != "num_hidden_layers"},
            layers_block_type=["mamba", "full_attention", "moe"],
            ssm_state_size=8,
            mamba_num_heads=4,
            mamba_head_dim=16,
            n_groups=2,
            chunk_size=16,
            n_routed_experts=4,
            moe_intermediate_size=24,
            moe_shared_expert_intermediate_size=24,
            pad_token_id=tokens.pad_token_id,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
        ),
        vision_config=RadioConfig(
            **{key: value for key, value in VISION.items() if key != "intermediate_size"},
            mlp_ratio=1.5,
            max_img_size=128,
            video_temporal_patch_size=2,
        ),
        audio_config=None,
        projector_hidden_size=48,
        vision_hidden_size=32,
        image_token_id=tokens.convert_tokens_to_ids("<image>"),
        video_token_id=tokens.convert_tokens_to_ids("<video>"),
    )

    def cut(image: Image.Image) -> Cut:
        patches = squares(pixels(image, 16), 8)
        rows, columns = patches.shape[:2]
        mark = "<img>" + "<image>" * (rows * columns // 4) + "</img>"
        return mark, {
            "pixel_values": patches.flatten(0, 1).flatten(1),
            "image_grid_hw": torch.tensor([[rows, columns]]),
        }

    return cut_by_hand(spread(NemotronH_Omni_Reasoning_V3(config), tokens), tokens, cut)


FAMILIES: dict[str, Callable[[], Case]] = {
    "deepseek_ocr2": deepseek_ocr2,
    "unlimited_ocr": unlimited_ocr,
    "minicpm_ocr": minicpm_ocr,
    "molmo2": molmo2,
    "nemotron_h_omni": nemotron_h_omni,
}
