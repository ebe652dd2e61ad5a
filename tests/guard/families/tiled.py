"""Families that cut an image into tiles, or enclose it, with markers of their own among its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image
from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    AyaVisionProcessor,
    Cohere2Config,
    Cohere2VisionConfig,
    Cohere2VisionForConditionalGeneration,
    Cohere2VisionProcessor,
    GotOcr2Config,
    GotOcr2ForConditionalGeneration,
    GotOcr2Processor,
    GraniteDoclingConfig,
    GraniteDoclingForConditionalGeneration,
    GraniteDoclingProcessor,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    Lfm2Config,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    Lfm2VlProcessor,
    Llama4Config,
    Llama4ForConditionalGeneration,
    Llama4Processor,
    LlamaConfig,
    MistralConfig,
    Ovis2Config,
    Ovis2ForConditionalGeneration,
    Ovis2Processor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Siglip2VisionConfig,
    SiglipVisionConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)
from transformers.models.granite_docling.image_processing_pil_granite_docling import GraniteDoclingImageProcessorPil
from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.ovis2.image_processing_pil_ovis2 import Ovis2ImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from guard.families.case import Case, with_processor
from guard.families.weights import spread
from holisafe._still import still_images_only
from tiny_models import TEXT, VISION, tokenizer

TILE = {"height": 32, "width": 32}
NO_HEAD_DIM = {key: value for key, value in TEXT.items() if key != "head_dim"}


def internvl() -> Case:
    """InternVL: all tiles of an image and its overview as one run between an opening and a closing token."""
    names = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    tokens = tokenizer(
        *names,
        start_image_token=names[0],
        end_image_token=names[1],
        context_image_token=names[2],
        video_token=names[3],
    )
    processor = still_images_only(InternVLProcessor)(
        GotOcr2ImageProcessorPil(size=TILE, max_patches=4), tokens, None, image_seq_length=4
    )
    config = InternVLConfig(
        vision_config={**VISION},
        text_config=Qwen2Config(vocab_size=len(tokens), **TEXT),
        image_token_id=processor.image_token_id,
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    model = spread(InternVLForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<IMG_CONTEXT>")


def aya_vision() -> Case:
    """Aya Vision: a name in plain text before each tile, an opening and a closing token around all."""
    names = ("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "TILE_GLOBAL", "TILE")
    tokens = tokenizer(*names)
    processor = AyaVisionProcessor(
        GotOcr2ImageProcessorPil(size=TILE, max_patches=4), tokens, patch_size=8, img_size=32, downsample_factor=2
    )
    config = AyaVisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=cohere2(tokens),
        image_token_index=processor.image_token_id,
        tie_word_embeddings=False,
    )
    return with_processor(spread(AyaVisionForConditionalGeneration(config), tokens), processor, "<image>", separator="")


def cohere2_vision() -> Case:
    """Command A Vision: a break after each tile, an opening and a closing token around all."""
    names = ("<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_LINE_BREAK|>")
    tokens = tokenizer(
        *names, image_token=names[0], boi_token=names[1], eoi_token=names[2], img_line_break_token=names[3]
    )
    # its own image processor needs torchvision, and tiles much as this one does
    image_processor = GotOcr2ImageProcessorPil(size=TILE, crop_to_patches=True, max_patches=4)
    image_processor.patch_size = 2  # tokens along a tile's side
    processor = Cohere2VisionProcessor(image_processor, tokens)
    config = Cohere2VisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=cohere2(tokens),
        image_token_id=processor.image_token_id,
        alignment_intermediate_size=64,
        tie_word_embeddings=False,
    )
    model = spread(Cohere2VisionForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<|IMG_PATCH|>", separator="")


def cohere2(tokens: PreTrainedTokenizerFast) -> Cohere2Config:
    return Cohere2Config(
        vocab_size=len(tokens),
        **TEXT,
        layer_types=["sliding_attention", "full_attention"],
        logit_scale=1.0,
        pad_token_id=tokens.pad_token_id,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
    )


def llama4() -> Case:
    """Llama 4: separators between tiles and between their rows, an overview after its own mark."""

    class Tiles(GotOcr2ImageProcessorPil):
        """Llama 4's own image processor needs torchvision; this one also says how many rows and columns it made."""

        def preprocess(self, images: Any, **options: Any) -> Any:
            seen = super().preprocess(images, **options)
            grids = [
                get_optimal_tiled_canvas((image.height, image.width), (32, 32), self.min_patches, self.max_patches)
                for image in images
            ]
            seen["aspect_ratios"] = [(rows, columns) for columns, rows in grids]
            del seen["num_patches"]
            return seen

    names = ("<|image|>", "<|patch|>", "<|image_start|>", "<|image_end|>")
    tokens = tokenizer(*names, "<|tile_x_separator|>", "<|tile_y_separator|>")
    processor = Llama4Processor(
        Tiles(size=TILE, crop_to_patches=True, max_patches=4), tokens, patch_size=8, pixel_shuffle_ratio=0.5
    )
    config = Llama4Config(
        vision_config={
            **VISION,
            "intermediate_size": 128,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        text_config={
            **TEXT,
            "vocab_size": len(tokens),
            "intermediate_size_mlp": 48,
            "num_local_experts": 4,
            "moe_layers": [1],
            "no_rope_layers": [1, 0],
            "pad_token_id": tokens.pad_token_id,
            "bos_token_id": tokens.bos_token_id,
            "eos_token_id": tokens.eos_token_id,
        },
        image_token_index=tokens.convert_tokens_to_ids("<|patch|>"),
        boi_token_index=tokens.convert_tokens_to_ids("<|image_start|>"),
        eoi_token_index=tokens.convert_tokens_to_ids("<|image_end|>"),
    )
    return with_processor(spread(Llama4ForConditionalGeneration(config), tokens), processor, "<|image|>", separator="")


def ovis2() -> Case:
    """Ovis2: the overview first, then tiles with column and row marks, each mark an embedding of the vision tower's."""
    marks = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")
    tokens = tokenizer("<image>", "<IMG_ATOM>", *marks)
    processor = Ovis2Processor(
        Ovis2ImageProcessorPil(size=TILE, crop_to_patches=True, max_patches=4), tokens, image_seq_length=4
    )
    config = Ovis2Config(
        vision_config={**VISION, "hidden_stride": 2, "vocab_size": 64},
        text_config=Qwen2Config(vocab_size=len(tokens), **TEXT),
        image_token_id=tokens.convert_tokens_to_ids("<IMG_ATOM>"),
        visual_indicator_token_ids=tokens.convert_tokens_to_ids(list(marks)),
        vocab_size=len(tokens),
        hidden_size=TEXT["hidden_size"],
        tie_word_embeddings=False,
    )
    return with_processor(spread(Ovis2ForConditionalGeneration(config), tokens), processor, "<image>")


def lfm2_vl() -> Case:
    """LFM2-VL: a row and column mark before each tile and one before the overview; convolutions beside attention."""

    class Options(Siglip2ImageProcessorPil.valid_kwargs, total=False):
        return_row_col_info: bool

    class Tiles(Siglip2ImageProcessorPil):
        """LFM2-VL's own image processor needs torchvision; this one cuts images wider or higher than a tile."""

        valid_kwargs = Options
        downsample_factor = 2
        encoder_patch_size = 8
        tile_size = 32
        use_thumbnail = True

        def preprocess(self, images: Any, **options: Any) -> Any:
            tiles, grids = [], []
            for image in (image for row in images for image in row):
                columns, rows = -(-image.width // 32), -(-image.height // 32)
                grids.append((rows, columns))
                large = image.resize((32 * columns, 32 * rows))
                if rows * columns > 1:
                    boxes = [(32 * x, 32 * y, 32 * x + 32, 32 * y + 32) for y in range(rows) for x in range(columns)]
                    tiles += [large.crop(box) for box in boxes]
                tiles.append(image.resize((32, 32)))
            seen = super().preprocess(tiles, **options)
            seen["image_rows"] = [rows for rows, _ in grids]
            seen["image_cols"] = [columns for _, columns in grids]
            seen["image_sizes"] = [(32, 32)] * len(grids)
            return seen

    places = [f"<|img_row_{row}_col_{column}|>" for row in (1, 2, 3) for column in (1, 2, 3)]
    tokens = tokenizer(
        "<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>", *places, image_token="<image>"
    )
    processor = Lfm2VlProcessor(Tiles(patch_size=8, max_num_patches=16), tokens)
    config = Lfm2VlConfig(
        vision_config=Siglip2VisionConfig(
            **{key: value for key, value in VISION.items() if key != "image_size"},
            num_patches=16,
            vision_use_head=False,
        ),
        text_config=Lfm2Config(
            vocab_size=len(tokens),
            **NO_HEAD_DIM,
            block_auto_adjust_ff_dim=False,
            layer_types=["full_attention", "conv"],
        ),
        image_token_id=processor.image_token_id,
        projector_hidden_size=32,
        tie_word_embeddings=False,
    )
    return with_processor(spread(Lfm2VlForConditionalGeneration(config), tokens), processor, "<image>", separator="")


def idefics3() -> Case:
    """Idefics3: a fake token and the row and column before each tile, the overview last."""
    places = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    tokens = tokenizer(
        "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", *places, image_token="<image>"
    )
    processor = Idefics3Processor(
        Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokens,
        image_seq_len=4,
    )
    config = Idefics3Config(
        vision_config={**VISION},
        text_config=LlamaConfig(vocab_size=len(tokens), pad_token_id=tokens.pad_token_id, **TEXT),
        image_token_id=processor.image_token_id,
        scale_factor=2,
    )
    return with_processor(spread(Idefics3ForConditionalGeneration(config), tokens), processor, "<image>", separator="")


def idefics2() -> Case:
    """Idefics2: a perceiver's latents between fake tokens, one of which adjacent images share."""
    tokens = tokenizer("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    processor = Idefics2Processor(
        Idefics2ImageProcessorPil(size={"shortest_edge": 24, "longest_edge": 64}), tokens, image_seq_len=4
    )
    config = Idefics2Config(
        vision_config={**VISION, "image_size": 64},
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        text_config=MistralConfig(vocab_size=len(tokens), sliding_window=None, pad_token_id=0, **TEXT),
        image_token_id=processor.image_token_id,
    )
    return with_processor(spread(Idefics2ForConditionalGeneration(config), tokens), processor, "<image>", separator="")


def granite_docling() -> Case:
    """Granite Docling: Idefics3's layout with an overview of split pages only; deepstack features."""
    places = [f"<row_{row}_col_{column}>" for row in (1, 2, 3, 4) for column in (1, 2, 3, 4)]
    tokens = tokenizer("<fake_token_around_image>", "<image>", "<global-img>", *places, image_token="<image>")
    processor = GraniteDoclingProcessor(
        GraniteDoclingImageProcessorPil(size=TILE, max_patches=4), tokens, image_seq_len=4
    )
    config = GraniteDoclingConfig(
        vision_config={
            **VISION,
            "out_hidden_size": 32,
            "scale_factor": 2,
            "deepstack_visual_indexes": [0],
            "use_fine_route": False,
        },
        text_config={
            **NO_HEAD_DIM,
            "vocab_size": len(tokens),
            "pad_token_id": tokens.pad_token_id,
            "bos_token_id": tokens.bos_token_id,
            "eos_token_id": tokens.eos_token_id,
            "embedding_multiplier": 1.0,
            "logits_scaling": 1.0,
            "residual_multiplier": 1.0,
            "attention_multiplier": 0.35,
        },
        image_token_id=processor.image_token_id,
        pad_token_id=tokens.pad_token_id,
        tie_word_embeddings=False,
    )
    model = spread(GraniteDoclingForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<image>", separator="")


def got_ocr2() -> Case:
    """GOT-OCR 2: all pages of a row as one run between one opening and one closing token."""
    tokens = tokenizer("<img>", "</img>", "<imgpad>")
    processor = GotOcr2Processor(GotOcr2ImageProcessorPil(size={"height": 64, "width": 64}), tokens)
    config = GotOcr2Config(
        vision_config={
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "mlp_dim": 48,
            "image_size": 64,
            "patch_size": 8,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        text_config=Qwen2Config(vocab_size=len(tokens), **TEXT),
        image_token_index=processor.image_token_id,
        tie_word_embeddings=False,
    )
    model = spread(GotOcr2ForConditionalGeneration(config), tokens)

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        batch = processor(
            images=[list(row) for row in images],
            text=["<img><imgpad></img>\n" + text for text in texts],
            multi_page=True,
            num_image_tokens=4,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        )
        return dict(batch)

    return Case(model, inputs, processor)


FAMILIES: dict[str, Callable[[], Case]] = {
    "internvl": internvl,
    "aya_vision": aya_vision,
    "cohere2_vision": cohere2_vision,
    "llama4": llama4,
    "ovis2": ovis2,
    "lfm2_vl": lfm2_vl,
    "idefics3": idefics3,
    "idefics2": idefics2,
    "granite_docling": granite_docling,
    "got_ocr2": got_ocr2,
}
