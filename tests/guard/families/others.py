"""Families that share little with any other: queries, discrete image tokens, two towers, page readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from transformers import (
    AriaConfig,
    AriaForConditionalGeneration,
    AriaProcessor,
    AriaTextConfig,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    ChameleonConfig,
    ChameleonForConditionalGeneration,
    ChameleonProcessor,
    ChameleonVQVAEConfig,
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLHybridConfig,
    DeepseekVLHybridForConditionalGeneration,
    DeepseekVLHybridProcessor,
    DeepseekVLProcessor,
    Emu3Config,
    Emu3ForConditionalGeneration,
    Emu3ImageProcessor,
    Emu3Processor,
    Emu3TextConfig,
    Emu3VQVAEConfig,
    FuyuConfig,
    FuyuForCausalLM,
    FuyuProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipVisionConfig,
    JanusConfig,
    JanusForConditionalGeneration,
    JanusProcessor,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    OPTConfig,
    PersimmonConfig,
    PreTrainedTokenizerFast,
    SamVisionConfig,
    SiglipVisionConfig,
)
from transformers.models.aria.image_processing_pil_aria import AriaImageProcessorPil
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.chameleon.image_processing_pil_chameleon import ChameleonImageProcessorPil
from transformers.models.deepseek_vl.image_processing_pil_deepseek_vl import DeepseekVLImageProcessorPil
from transformers.models.deepseek_vl_hybrid.image_processing_pil_deepseek_vl_hybrid import (
    DeepseekVLHybridImageProcessorPil,
)
from transformers.models.fuyu.image_processing_pil_fuyu import FuyuImageProcessorPil
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

from guard.families.case import Case, with_processor
from guard.families.weights import spread
from tiny_models import TEXT, VISION, tokenizer


def aria() -> Case:
    """Aria: queries over patches, a mixture of experts; its image processor makes none smaller than 490 pixels."""
    tokens = tokenizer("<image>", image_token="<image>")
    processor = AriaProcessor(AriaImageProcessorPil(max_image_size=490), tokens, size_conversion={490: 6})
    processor.images_kwargs = {"max_image_size": 490, "split_image": False}  # the class says 980
    config = AriaConfig(
        text_config=AriaTextConfig(
            vocab_size=len(tokens), **TEXT, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1
        ),
        vision_config=Idefics3VisionConfig(**VISION | {"image_size": 490, "patch_size": 70}),
        projector_patch_to_query_dict={49: 6},
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    return with_processor(spread(AriaForConditionalGeneration(config), tokens), processor, "<image>")


def left_padded(rows: Sequence[list[int]], tokens: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Token ids and attention mask of `rows`."""
    return dict(tokens.pad({"input_ids": list(rows)}, padding=True, padding_side="left", return_tensors="pt"))


def blip_2() -> Case:
    """BLIP-2 with OPT: a Q-Former's queries before the text's first token.

    Its processor takes one image a text and puts the padding between queries and text; here, as in any other family,
    it stands before both, and a row of two images has the queries of each, on lines of their own.
    """
    tokens = tokenizer("<image>", image_token="<image>")
    pictures = BlipImageProcessorPil(size={"height": 32, "width": 32})
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**VISION),
        qformer_config=Blip2QFormerConfig(**QFORMER),
        text_config=OPTConfig(**OPT, vocab_size=len(tokens), pad_token_id=tokens.pad_token_id),
        num_query_tokens=6,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    model = spread(Blip2ForConditionalGeneration(config), tokens)
    model.language_model.generation_config = model.generation_config  # the one that generate goes by

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        prompts = [
            "\n".join(["<image>" * 6] * len(row)) + "<bos>" + text for row, text in zip(images, texts, strict=True)
        ]
        pixels = pictures([image for row in images for image in row], return_tensors="pt")
        return left_padded(tokens(prompts)["input_ids"], tokens) | dict(pixels)

    return Case(model, inputs)


QFORMER = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "encoder_hidden_size": 32,
}
OPT = {
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


def instructblip() -> Case:
    """InstructBLIP with OPT: as BLIP-2, with the text shown to the Q-Former once for every image."""
    tokens = tokenizer("<image>", image_token="<image>")
    pictures = BlipImageProcessorPil(size={"height": 32, "width": 32})
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**VISION),
        qformer_config=InstructBlipQFormerConfig(**QFORMER),
        text_config=OPTConfig(**OPT, vocab_size=len(tokens), pad_token_id=tokens.pad_token_id),
        num_query_tokens=6,
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )
    model = spread(InstructBlipForConditionalGeneration(config), tokens)
    model.language_model.generation_config = model.generation_config  # the one that generate goes by

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        pairs = list(zip(images, texts, strict=True))
        prompts = ["\n".join(["<image>" * 6] * len(row)) + "<bos>" + text for row, text in pairs]
        pixels = pictures([image for row in images for image in row], return_tensors="pt")
        # the Q-Former numbers positions from the left, so its text is padded on the right, as by its own tokenizer
        asked = tokens(
            [text for row, text in pairs for _ in row], padding=True, padding_side="right", return_tensors="pt"
        )
        asked_by_queries = {f"qformer_{name}": asked[name] for name in ("input_ids", "attention_mask")}
        return left_padded(tokens(prompts)["input_ids"], tokens) | dict(pixels) | asked_by_queries

    return Case(model, inputs)


def chameleon() -> Case:
    """Chameleon: an image becomes tokens of the vocabulary that the placeholders are exchanged for."""
    codes = [f"IMGIMG{'ABCDEFGHIJ'[code // 10]}{'ABCDEFGHIJ'[code % 10]}Z" for code in range(16)]
    names = ("<image>", "<racm3:break>", "<eoss>", "<reserved08706>")
    tokens = tokenizer(*names, *codes, image_token="<image>")
    tokens.sep_token = "<reserved08706>"
    processor = ChameleonProcessor(
        ChameleonImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokens,
        image_seq_length=16,
    )
    config = ChameleonConfig(
        vocab_size=len(tokens),
        **{key: value for key, value in TEXT.items() if key != "head_dim"},
        vq_config=ChameleonVQVAEConfig(
            embed_dim=16,
            num_embeddings=len(codes),
            latent_channels=16,
            resolution=32,
            base_channels=32,
            channel_multiplier=[1, 1, 1, 1],
            num_res_blocks=1,
        ),
        vocabulary_map={name: tokens.convert_tokens_to_ids(name) for name in ("<image>", *codes)},
    )
    return with_processor(spread(ChameleonForConditionalGeneration(config), tokens), processor, "<image>")


def janus() -> Case:
    """Janus, reading images rather than drawing them."""
    names = ("<image_placeholder>", "<begin_of_image>", "<end_of_image>")
    tokens = tokenizer(*names, image_token=names[0], boi_token=names[1], eoi_token=names[2])
    processor = JanusProcessor(JanusImageProcessorPil(size={"height": 32, "width": 32}), tokens, num_image_tokens=16)
    config = JanusConfig(
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        vision_config=JanusVisionConfig(
            **{key: value for key, value in VISION.items() if key != "intermediate_size"},
            mlp_ratio=1.5,
            projection_dim=32,
            num_image_tokens=16,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=8,
            num_embeddings=16,
            latent_channels=16,
            base_channels=32,
            channel_multiplier=[1, 1],
            num_res_blocks=1,
            num_patches=4,
            projection_dim=32,
            image_token_embed_dim=32,
        ),
        image_token_id=tokens.convert_tokens_to_ids(names[0]),
        tie_word_embeddings=False,
    )
    return with_processor(spread(JanusForConditionalGeneration(config), tokens), processor, names[0])


def deepseek_vl() -> Case:
    """DeepSeek-VL: SigLIP and Llama, images side by side with nothing but the text's own line break between."""
    tokens = tokenizer("<image_placeholder>", image_token="<image_placeholder>")
    processor = DeepseekVLProcessor(
        DeepseekVLImageProcessorPil(size={"height": 32, "width": 32}), tokens, num_image_tokens=16
    )
    config = DeepseekVLConfig(
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        image_token_id=tokens.convert_tokens_to_ids("<image_placeholder>"),
        tie_word_embeddings=False,
    )
    model = spread(DeepseekVLForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<image_placeholder>", "")


def deepseek_vl_hybrid() -> Case:
    """DeepSeek-VL with a second tower: SigLIP on a small image and SAM on a large one."""
    tokens = tokenizer("<image_placeholder>", image_token="<image_placeholder>")
    processor = DeepseekVLHybridProcessor(
        DeepseekVLHybridImageProcessorPil(size={"height": 32, "width": 32}, high_res_size={"height": 64, "width": 64}),
        tokens,
        num_image_tokens=16,
    )
    config = DeepseekVLHybridConfig(
        text_config=LlamaConfig(vocab_size=len(tokens), **TEXT),
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        high_res_vision_config=SamVisionConfig(
            **{key: value for key, value in VISION.items() if key not in ("intermediate_size", "image_size")},
            image_size=64,
            output_channels=16,
            window_size=4,
            global_attn_indexes=[1],
            mlp_dim=48,
        ),
        image_token_id=tokens.convert_tokens_to_ids("<image_placeholder>"),
        tie_word_embeddings=False,
    )
    model = spread(DeepseekVLHybridForConditionalGeneration(config), tokens)
    return with_processor(model, processor, "<image_placeholder>")


def emu3() -> Case:
    """Emu3: an image of any size becomes tokens of the vocabulary, one more at the end of each row.

    The codes of an image depend on how far it is padded to the largest of its batch; so here all have one size.
    """
    codes = [f"<|visual token {code:06d}|>" for code in range(16)]
    named = {
        "image_token": "<image>",
        "boi_token": "<|image start|>",
        "eoi_token": "<|image end|>",
        "image_wrapper_token": "<|image token|>",
        "eof_token": "<|extra_201|>",
    }
    tokens = tokenizer(*named.values(), "<|extra_200|>", *codes, **named)
    processor = Emu3Processor(Emu3ImageProcessor(min_pixels=32 * 32, max_pixels=64 * 64), tokens)
    config = Emu3Config(
        text_config=Emu3TextConfig(
            vocab_size=len(tokens),
            **{key: value for key, value in TEXT.items() if key != "head_dim"},
            pad_token_id=tokens.pad_token_id,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
        ),
        vq_config=Emu3VQVAEConfig(
            codebook_size=len(codes),
            base_channels=32,
            channel_multiplier=[1, 1, 1, 1],
            num_res_blocks=1,
            hidden_size=32,
        ),
        vocabulary_map={name: tokens.convert_tokens_to_ids(name) for name in ("<image>", "<|extra_200|>", *codes)},
    )
    case = with_processor(spread(Emu3ForConditionalGeneration(config), tokens), processor, "<image>")

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        return case.inputs([[image.resize((48, 32)) for image in row] for row in images], texts)

    return Case(case.model, inputs, processor)


def fuyu() -> Case:
    """Fuyu: patches are projected, each row of them ends in a token of its own.

    Its processor takes one image a text, relies on blanks that Fuyu's own tokenizer puts before a text, and without
    torchvision fails on patches of numpy. So the prompt is written here, images of a row one after another.
    """
    tokens = tokenizer("|SPEAKER|", "|NEWLINE|", "<s>", "<0x04>")
    pictures = FuyuImageProcessorPil(size={"height": 48, "width": 64}, patch_size={"height": 16, "width": 16})
    config = FuyuConfig(
        text_config=PersimmonConfig(
            **{key: value for key, value in TEXT.items() if key not in ("head_dim", "num_key_value_heads")},
            vocab_size=len(tokens),
            pad_token_id=tokens.pad_token_id,
        ),
        patch_size=16,
        image_token_id=tokens.convert_tokens_to_ids("|SPEAKER|"),
    )

    def patches(image: Image.Image) -> tuple[str, Any]:
        """Placeholders and pixels of the patches that the image reaches into."""
        processed = pictures(image)
        across = -(-processed["image_unpadded_widths"][0][0] // 16)
        down = -(-processed["image_unpadded_heights"][0][0] // 16)
        pixels = pictures.patchify_image(processed["images"][0][0][:, : down * 16, : across * 16])
        return ("|SPEAKER|" * across + "|NEWLINE|") * down + "<s>", torch.from_numpy(pixels).float()

    def inputs(images: Sequence[Sequence[Image.Image]], texts: Sequence[str]) -> dict[str, Any]:
        cut = [[patches(image) for image in row] for row in images]
        prompts = [
            "".join(placeholders for placeholders, _ in row) + text + "<0x04>"
            for row, text in zip(cut, texts, strict=True)
        ]
        pixels = torch.cat([pixels for row in cut for _, pixels in row])
        return left_padded(tokens(prompts)["input_ids"], tokens) | {"pixel_values": pixels}

    return Case(spread(FuyuForCausalLM(config), tokens), inputs, FuyuProcessor(pictures, tokens))


FAMILIES: dict[str, Callable[[], Case]] = {
    "aria": aria,
    "blip-2": blip_2,
    "instructblip": instructblip,
    "chameleon": chameleon,
    "janus": janus,
    "deepseek_vl": deepseek_vl,
    "deepseek_vl_hybrid": deepseek_vl_hybrid,
    "emu3": emu3,
    "fuyu": fuyu,
}
