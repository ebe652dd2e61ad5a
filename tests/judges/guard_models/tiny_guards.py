"""Guards with random weights and two layers, of the real transformers classes, saved as checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaProcessor,
    ShieldGemma2Config,
    ShieldGemma2ForImageClassification,
    ShieldGemma2Processor,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

from guard.families.qwen_like import qwen3_5, qwen3_vl
from guard.families.tiled import llama4
from tiny_models import IMAGE_FIRST, TEXT, Tiny, _finish, gemma3, llava_onevision, qwen2_5_vl, save, tokenizer

LLAMA_GUARD = (
    "{{ bos_token }}{% set role = 'User' if messages|length % 2 else 'Agent' %}"
    "{% for message in messages %}{% for part in message['content'] if part['type'] == 'image' %}IMAGE{% endfor %}"
    "{% endfor %}Task: Check if there is unsafe content in '{{ role }}' messages.\n<BEGIN CONVERSATION>\n"
    "{% for message in messages %}{{ 'User' if message['role'] == 'user' else 'Agent' }}: "
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}\n{% endfor %}"
    "<END CONVERSATION>\nAssess ONLY THE LAST {{ role }} message.\n"
)
"""A chat template as Llama Guard's: the image first, then the task, whose role is that of the last message."""

SHIELD_GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}Is this against: {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}\n"
)

KEYWORDS = (
    "{{ thinking_type|default('') }}{{ policy|default('') }}{{ request_categories|default('') }}"
    "{{ 'think' if enable_thinking is defined and enable_thinking else '' }}"
)
"""Writes the arguments of a chat template into the prompt."""


def mllama() -> Tiny:
    """Llama 3.2 Vision: image features by cross attention in one of the two layers."""
    tokens = tokenizer("<|image|>", image_token="<|image|>")
    processor = MllamaProcessor(
        MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=4),
        tokens,
        chat_template=LLAMA_GUARD.replace("IMAGE", "<|image|>"),
    )
    text = {key: value for key, value in TEXT.items() if key != "head_dim"}
    config = MllamaConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "attention_heads": 4,
            "vision_output_dim": 64,
            "image_size": 32,
            "patch_size": 8,
            "max_num_tiles": 4,
            "intermediate_layers_indices": [1],
        },
        text_config={
            **text,
            "vocab_size": len(tokens),
            "cross_attention_layers": [1],
            "pad_token_id": tokens.pad_token_id,
            "bos_token_id": tokens.bos_token_id,
            "eos_token_id": tokens.eos_token_id,
        },
        image_token_index=tokens.convert_tokens_to_ids("<|image|>"),
    )
    return Tiny(_finish(MllamaForConditionalGeneration(config), tokens), processor)


def shieldgemma2() -> Tiny:
    """ShieldGemma 2: Gemma 3, of whose logits those of two tokens are its scores."""
    base = gemma3()
    tokens = base.processor.tokenizer
    processor = ShieldGemma2Processor(
        Gemma3ImageProcessorPil(size={"height": 32, "width": 32}),
        tokens,
        chat_template=SHIELD_GEMMA,
        image_seq_length=4,
    )
    config = ShieldGemma2Config(
        text_config=base.model.config.text_config,
        vision_config=base.model.config.vision_config,
        mm_tokens_per_image=4,
        boi_token_index=base.model.config.boi_token_index,
        eoi_token_index=base.model.config.eoi_token_index,
        image_token_index=base.model.config.image_token_id,
    )
    config.yes_token_index, config.no_token_index = (tokens.convert_tokens_to_ids(word) for word in "YN")
    return Tiny(_finish_inner(ShieldGemma2ForImageClassification(config), tokens), processor)


def _finish_inner(model: Any, tokens: Any) -> Any:
    _finish(model.model, tokens)
    return model.eval()


def mistral() -> Tiny:
    """Mistral, for text alone."""
    tokens = tokenizer()
    config = MistralConfig(
        vocab_size=len(tokens),
        **TEXT,
        pad_token_id=tokens.pad_token_id,
        bos_token_id=tokens.bos_token_id,
        eos_token_id=tokens.eos_token_id,
    )
    return Tiny(_finish(MistralForCausalLM(config), tokens), tokens)


def _with_template(case: Any, template: str, mark: str) -> Tiny:
    case.processor.chat_template = template.replace("IMAGE", mark)
    return Tiny(case.model, case.processor)


QWEN = "<|vision_start|><|image_pad|><|vision_end|>"
TINY: dict[str, Callable[[], Tiny]] = {
    "llama-guard-3-vision": mllama,
    "llama-guard-4": lambda: _with_template(llama4(), LLAMA_GUARD, "<|image|>"),
    "llavaguard": llava_onevision,
    "shieldgemma2": shieldgemma2,
    "wildguard": mistral,
    "guardreasoner-vl": qwen2_5_vl,
    "nemotron-content-safety": lambda: gemma3(IMAGE_FIRST + KEYWORDS),
    "singguard": lambda: _with_template(qwen3_vl(), IMAGE_FIRST + KEYWORDS, QWEN),
}
"""A tiny checkpoint of each guard."""

OTHERS: dict[str, tuple[str, Callable[[], Tiny]]] = {
    "llavaguard as QwenGuard": ("llavaguard", qwen2_5_vl),
    "singguard of Qwen3.5": ("singguard", lambda: _with_template(qwen3_5(), IMAGE_FIRST + KEYWORDS, QWEN)),
}
"""Further classes that a guard has checkpoints of."""


def save_guard(tiny: Tiny, folder: Path) -> Path:
    """Write a checkpoint that `from_pretrained` reads."""
    return save(tiny, folder)


def teach(model: Any, inputs: dict[str, torch.Tensor], answer: torch.Tensor, most: int = 400) -> None:
    """Train a tiny model until it is sure of one answer (tokens,) to one prompt."""
    prompt = inputs["input_ids"].shape[1]
    given = {**inputs, "input_ids": torch.cat([inputs["input_ids"], answer[None]], 1)}
    given["attention_mask"] = torch.ones_like(given["input_ids"])
    if "cross_attention_mask" in given:
        last = given["cross_attention_mask"][:, -1:].expand(-1, len(answer), -1, -1)
        given["cross_attention_mask"] = torch.cat([given["cross_attention_mask"], last], 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.enable_grad():
        for _ in range(most):
            logits = model(**given).logits[0, prompt - 1 : -1]  # (tokens, vocabulary)
            if logits.softmax(-1).gather(1, answer[:, None]).min() > 0.8:
                return
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(logits, answer).backward()
            optimiser.step()
    raise AssertionError("the tiny model did not learn its answer")


__all__ = ["OTHERS", "TINY", "save_guard", "teach"]
