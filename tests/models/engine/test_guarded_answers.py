"""A guarded model answers as it did, and its verdicts are the same however the answers are computed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.errors import GuardError
from holisafe.guard import GuardConfig, attach_guard, detach_guard, guard_of, guarded_generate
from holisafe.models import Answer, Engine, GenerationOptions, Prompt, Request
from holisafe.models.engine.prefill import plain_inputs
from holisafe.models.engine.reuse import Way
from holisafe.models.prompts import prepare
from holisafe.records import GuardVerdict, ImageRef, Role, Turn

TOKENS = 6
OPTIONS = GenerationOptions(max_new_tokens=TOKENS)


def drawn(key: str, width: int, height: int) -> ImageRef:
    pixels = np.random.default_rng(len(key) + width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return ImageRef(key, data=encoded.getvalue())


WIDE, TALL, SQUARE = drawn("wide", 70, 40), drawn("tall", 32, 64), drawn("square", 40, 40)
PROMPTS = [
    Prompt.ask("What is it?", WIDE),
    Prompt.ask("Which one?", TALL, SQUARE),
    Prompt.ask("Can I eat this with a spoon, please?", WIDE),
    Prompt.ask("Hm", TALL, SQUARE),
    Prompt.ask("Hello there", SQUARE),
]
CONFIGS = {
    "ours": GuardConfig(),
    "paper": GuardConfig.paper(),
    "projector": GuardConfig(features="projector", pooling="attention"),
    "meta token": GuardConfig(meta_token=True),
    "request only": GuardConfig(image_head=False),
}


def guarded(family: str = "llava", config: GuardConfig | None = None, template: str = tiny_models.IMAGE_FIRST) -> Any:
    """A tiny model with a guard that tells images apart."""
    tiny = tiny_models.FAMILIES[family](template)
    torch.manual_seed(3)
    attach_guard(tiny.model, config or GuardConfig(), processor=tiny.processor)
    with torch.no_grad():
        for weight in guard_of(tiny.model).parameters():
            weight.mul_(2)
    tiny.model.eval()
    return tiny


def answers(tiny: Any, prompts: Sequence[Prompt] = PROMPTS, **options: Any) -> list[Answer]:
    with Engine(tiny.model, tiny.processor, **options) as engine:
        return engine.answer(prompts, OPTIONS)


def assert_alike(found: Sequence[Answer], expected: Sequence[Answer]) -> None:
    """The same verdicts to 1e-4, on as many images."""
    for one, other in zip(found, expected, strict=True):
        assert len(one.verdict.images) == len(other.verdict.images)
        for image, same in zip(one.verdict.images, other.verdict.images, strict=True):
            close(image.distribution, same.distribution)
        assert (one.verdict.request is None) == (other.verdict.request is None)
        if one.verdict.request is not None and other.verdict.request is not None:
            close(one.verdict.request.distribution, other.verdict.request.distribution)
            close(one.verdict.request.categories, other.verdict.request.categories)


def close(one: Mapping[Any, float], other: Mapping[Any, float]) -> None:
    assert dict(one) == pytest.approx(dict(other), abs=1e-4)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_answers_are_those_of_the_model_without_its_guard(family: str) -> None:
    tiny = guarded(family)
    found = answers(tiny, batch_size=4, prefix_worth=0)
    detach_guard(tiny.model)
    assert [answer.tokens for answer in found] == [answer.tokens for answer in answers(tiny, batch_size=4)]


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_verdicts_of_a_batch_are_those_of_each_prompt_alone(family: str, reuse: bool) -> None:
    tiny = guarded(family)
    alone = answers(tiny, batch_size=1, reuse=False)
    with Engine(tiny.model, tiny.processor, batch_size=5, reuse=reuse, prefix_worth=0) as engine:
        found = engine.answer(PROMPTS, OPTIONS)
        assert (engine.reuse.way is Way.PREFIX) == reuse == (engine.prefixes > 0)
    assert_alike(found, alone)
    assert [len(answer.verdict.images) for answer in found] == [1, 2, 1, 2, 1]
    assert len({answer.verdict.images[0].probability for answer in alone}) >= 3


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_verdicts_from_kept_features_are_those_of_each_prompt_alone(family: str) -> None:
    tiny = guarded(family, template=tiny_models.IMAGE_LAST)
    with Engine(tiny.model, tiny.processor, batch_size=5) as engine:
        assert engine.reuse.way is Way.FEATURES
        assert_alike(engine.answer(PROMPTS, OPTIONS), answers(tiny, batch_size=1, reuse=False))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_every_kind_of_guard_says_the_same_with_reuse(family: str, kind: str) -> None:
    tiny = guarded(family, CONFIGS[kind])
    alone = answers(tiny, batch_size=1, reuse=False)
    with Engine(tiny.model, tiny.processor, batch_size=5, prefix_worth=0) as engine:
        found = engine.answer(PROMPTS, OPTIONS)
        assert engine.prefixes > 0
    assert_alike(found, alone)
    assert [answer.tokens for answer in found] == [answer.tokens for answer in alone]
    verdict = found[0].verdict
    assert bool(verdict.images) == CONFIGS[kind].image_head
    assert (verdict.request is not None) == CONFIGS[kind].joint_head


def test_verdicts_are_those_of_guarded_generate() -> None:
    tiny = guarded()
    (found,) = answers(tiny, PROMPTS[:1])
    prepared = prepare(tiny.processor, PROMPTS[0], keep_prompt=True)
    inputs = plain_inputs(tiny.model, tiny.processor, [prepared])
    (direct,) = guarded_generate(tiny.model, inputs, max_new_tokens=TOKENS).verdicts
    assert found.verdict is not None and found.verdict.request is not None and direct.request is not None
    close(found.verdict.images[0].distribution, direct.images[0].distribution)
    close(found.verdict.request.distribution, direct.request.distribution)


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_prompt_without_images_gets_a_request_verdict_alone(kind: str, reuse: bool) -> None:
    tiny = guarded(config=CONFIGS[kind])
    prompts = [Prompt((Turn(Role.USER, "Why?"),)), PROMPTS[0], Prompt((Turn(Role.USER, "How come?"),))]
    for answer in answers(tiny, [prompts[0], prompts[2]], reuse=reuse):
        assert answer.tokens and answer.verdict.images == ()
        assert (answer.verdict.request is not None) == CONFIGS[kind].joint_head
    assert_alike(answers(tiny, prompts, reuse=reuse, prefix_worth=0), answers(tiny, prompts, batch_size=1, reuse=False))


def test_a_model_without_a_guard_gives_no_verdicts() -> None:
    assert all(answer.verdict == GuardVerdict() for answer in answers(tiny_models.llava()))


def test_a_prompt_whose_features_are_not_finite_fails_alone() -> None:
    tiny = guarded()
    tiny.model.model.language_model.register_forward_hook(_overflow_where_long, prepend=True)
    long = Prompt.ask("long " * 60, WIDE)
    with Engine(tiny.model, tiny.processor, reuse=False) as engine:
        futures = [engine.submit(Request(prompt, OPTIONS)) for prompt in (PROMPTS[0], long, PROMPTS[2])]
        assert futures[0].result().verdict.images and futures[2].result().verdict.images
        with pytest.raises(GuardError, match="not finite"):
            futures[1].result()


def _overflow_where_long(_: object, __: object, output: Any) -> Any:
    if output[0].shape[1] > 200:
        output.last_hidden_state = output[0] * torch.inf
    return output


def test_calls_outside_the_engine_are_not_guarded_by_its_session() -> None:
    tiny = guarded()
    before = answers(tiny)
    prepared = prepare(tiny.processor, PROMPTS[0], keep_prompt=True)
    inputs = plain_inputs(tiny.model, tiny.processor, [prepared])
    assert "image_logits" not in tiny.model(**inputs)
    (direct,) = guarded_generate(tiny.model, inputs, max_new_tokens=TOKENS).verdicts
    close(direct.images[0].distribution, before[0].verdict.images[0].distribution)
