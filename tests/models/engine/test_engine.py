"""Answers are the same however they are computed, for real families with random weights."""

from __future__ import annotations

import io
import queue
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.errors import ImageError, ModelError
from holisafe.families.features import forward_inputs
from holisafe.models import Answer, Engine, FinishReason, GenerationOptions, Prompt, Request
from holisafe.models.engine.prefill import FeatureCache, shared_prefix
from holisafe.models.engine.reuse import Way
from holisafe.models.prompts import prepare
from holisafe.records import ImageRef, Role, Turn

TOKENS = 16
OPTIONS = GenerationOptions(max_new_tokens=TOKENS)


def drawn(key: str, width: int, height: int) -> ImageRef:
    pixels = np.random.default_rng(len(key) + width).integers(0, 255, (height, width, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return ImageRef(key, data=encoded.getvalue())


WIDE, TALL, SQUARE = drawn("wide", 70, 40), drawn("tall", 32, 64), drawn("square", 40, 40)
PROMPTS = [
    Prompt.ask("What is it?", WIDE),
    Prompt.ask("Hm", TALL),
    Prompt.ask("Can I eat this with a spoon, please?", WIDE),
    Prompt.ask("Why is it so red?", WIDE),
    Prompt.ask("How do they make it?", TALL),
    Prompt.ask("Hello there", SQUARE),
]


def alone(tiny: tiny_models.Tiny, prompts: list[Prompt] = PROMPTS) -> list[Answer]:
    with Engine(tiny.model, tiny.processor, batch_size=1, reuse=False) as engine:
        return engine.answer(prompts, OPTIONS)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_batches_answer_as_single_prompts_do(family: str) -> None:
    tiny = tiny_models.FAMILIES[family]()
    with Engine(tiny.model, tiny.processor, batch_size=6, reuse=False) as engine:
        assert engine.reuse.batched
        assert engine.answer(PROMPTS, OPTIONS) == alone(tiny)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_prefix_computed_once_per_image_gives_the_same_answers(family: str) -> None:
    tiny = tiny_models.FAMILIES[family](tiny_models.IMAGE_FIRST)
    with Engine(tiny.model, tiny.processor, batch_size=4, prefix_worth=0) as engine:
        answers = engine.answer(PROMPTS, OPTIONS)
        assert engine.reuse.way is Way.PREFIX
        assert engine.prefixes > 0
    assert answers == alone(tiny)
    assert len({answer.tokens for answer in answers}) == len(PROMPTS)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_features_computed_once_per_image_give_the_same_answers_where_the_image_comes_last(family: str) -> None:
    tiny = tiny_models.FAMILIES[family](tiny_models.IMAGE_LAST)
    with Engine(tiny.model, tiny.processor, batch_size=4, prefix_worth=0) as engine:
        answers = engine.answer(PROMPTS, OPTIONS)
        assert engine.reuse.way is Way.FEATURES
        assert engine.images_encoded == 3
    assert answers == alone(tiny)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_batch_may_hold_several_images_per_prompt(family: str) -> None:
    tiny = tiny_models.FAMILIES[family]()
    prompts = [
        Prompt.ask("Same?", WIDE, TALL),
        Prompt.ask("Which is larger?", WIDE, TALL),
        Prompt.ask("And?", TALL, WIDE),
    ]
    with Engine(tiny.model, tiny.processor, prefix_worth=0) as engine:
        assert engine.answer(prompts, OPTIONS) == alone(tiny, prompts)


def test_a_sliding_window_that_is_too_short_for_padding_is_answered_without_a_prefix() -> None:
    tiny = tiny_models.gemma3(sliding_window=40)
    with Engine(tiny.model, tiny.processor, prefix_worth=0) as engine:
        answers = engine.answer(PROMPTS, OPTIONS)
        assert engine.prefixes == 0
    assert answers == alone(tiny)


def test_a_prefix_that_saves_little_is_read_with_each_question() -> None:
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor, prefix_worth=1000) as engine:
        assert engine.answer(PROMPTS, OPTIONS) == alone(tiny)
        assert engine.prefixes == 0


def test_conversations_without_images_are_answered() -> None:
    tiny = tiny_models.llava()
    prompts = [Prompt((Turn(Role.SYSTEM, "Be brief."), Turn(Role.USER, "Why?"))), PROMPTS[0]]
    with Engine(tiny.model, tiny.processor) as engine:
        assert engine.answer(prompts, OPTIONS) == alone(tiny, prompts)


def test_an_image_placeholder_in_the_question_is_read_as_text() -> None:
    tiny = tiny_models.llava()
    prompts = [Prompt.ask("Is <image> a token?", WIDE), Prompt.ask("No.", WIDE)]
    with Engine(tiny.model, tiny.processor) as engine:
        spelt, plain = engine.answer(prompts, OPTIONS)
    assert spelt.input_tokens - plain.input_tokens == len("Is <image> a token?") - len("No.")


def test_a_bad_image_fails_alone() -> None:
    tiny = tiny_models.llava()
    bad = ImageRef("bad", data=b"no image")
    with Engine(tiny.model, tiny.processor) as engine:
        good, broken = (
            engine.submit(Request(PROMPTS[0], OPTIONS)),
            engine.submit(Request(Prompt.ask("And this?", bad), OPTIONS)),
        )
        assert good.result() == alone(tiny, PROMPTS[:1])[0]
        with pytest.raises(ImageError, match="bad"):
            broken.result()


def test_a_prompt_that_breaks_the_model_fails_alone() -> None:
    tiny = tiny_models.llava()
    tiny.model.model.language_model.register_forward_pre_hook(_refuse_long, with_kwargs=True)
    long = Prompt.ask("long " * 60, WIDE)
    with Engine(tiny.model, tiny.processor) as engine:
        futures = [engine.submit(Request(prompt, OPTIONS)) for prompt in (PROMPTS[0], long, PROMPTS[1])]
        assert futures[0].result().tokens and futures[2].result().tokens
        with pytest.raises(ModelError, match="too long for me"):
            futures[1].result()


def _refuse_long(_: object, __: object, inputs: dict[str, torch.Tensor]) -> None:
    if inputs["inputs_embeds"].shape[1] > 200:
        raise RuntimeError("too long for me")


def test_answers_end_where_the_model_ends_them() -> None:
    tiny = tiny_models.llava()
    answer = alone(tiny, PROMPTS[:1])[0]
    assert (answer.finish_reason, len(answer.tokens)) == (FinishReason.LENGTH, TOKENS)
    tiny.model.generation_config.eos_token_id = [answer.tokens[3]]
    ended = alone(tiny, PROMPTS[:1])[0]
    assert (ended.finish_reason, ended.tokens) == ("stop", answer.tokens[: answer.tokens.index(answer.tokens[3])])


def test_penalties_of_the_checkpoint_do_not_touch_greedy_answers() -> None:
    tiny = tiny_models.llava()
    before = alone(tiny)
    tiny.model.generation_config.repetition_penalty = 5.0
    assert alone(tiny) == before


def test_a_way_that_changes_the_scores_is_not_used() -> None:
    tiny = tiny_models.llava()

    def disturb(module: object, arguments: object, inputs: dict[str, object]) -> tuple[object, dict[str, object]]:
        past = inputs.get("past_key_values")
        if past is not None and past.get_seq_length() > 0:  # type: ignore[attr-defined]
            inputs["inputs_embeds"] = inputs["inputs_embeds"] * 1.1  # type: ignore[operator]
        return arguments, inputs

    tiny.model.model.language_model.register_forward_pre_hook(disturb, with_kwargs=True)
    with Engine(tiny.model, tiny.processor) as engine:
        assert engine.reuse.way is Way.FEATURES
        assert "the scores differ" in engine.reuse.reason


def test_a_model_whose_scores_padding_changes_answers_one_prompt_at_a_time() -> None:
    tiny = tiny_models.llava()

    def forget_the_mask(
        module: object, arguments: object, inputs: dict[str, object]
    ) -> tuple[object, dict[str, object]]:
        return arguments, {**inputs, "attention_mask": None}

    tiny.model.model.language_model.register_forward_pre_hook(forget_the_mask, with_kwargs=True)
    with Engine(tiny.model, tiny.processor, batch_size=8) as engine:
        assert engine.batch_size == 1
        assert "padding changes the scores" in engine.reuse.reason
        assert engine.answer(PROMPTS, OPTIONS) == alone(tiny)


def test_a_prefix_is_shared_only_up_to_the_first_token_that_differs() -> None:
    tiny = tiny_models.llava()
    group = [prepare(tiny.processor, prompt) for prompt in (PROMPTS[0], PROMPTS[3])]
    length = shared_prefix(group, forward_inputs(tiny.model))
    assert (group[0].ids[:length] == group[1].ids[:length]).all()
    assert group[0].ids[length] != group[1].ids[length]


def test_prompts_that_differ_before_the_image_share_no_prefix() -> None:
    tiny = tiny_models.llava()
    turns = [
        Prompt((Turn(Role.SYSTEM, system), Turn(Role.USER, "What?", (WIDE,)))) for system in ("Be brief.", "Be kind.")
    ]
    group = [prepare(tiny.processor, prompt) for prompt in turns]
    assert shared_prefix(group, forward_inputs(tiny.model)) == 0


def test_features_are_kept_up_to_a_limit() -> None:
    tiny = tiny_models.llava()
    family = forward_inputs(tiny.model)
    cache = FeatureCache(1)
    first, second = (prepare(tiny.processor, prompt) for prompt in PROMPTS[:2])
    for prompt in (first, first, second, first):
        cache.features(tiny.model, family, prompt)
    assert cache.computed == 3


def test_a_closed_model_says_so() -> None:
    tiny = tiny_models.llava()
    engine = Engine(tiny.model, tiny.processor)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.submit(Request(PROMPTS[0]))


def test_a_prompt_that_nobody_waits_for_any_more_is_left_out() -> None:
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor, window=0.2) as engine:
        first, second = (engine.submit(Request(prompt, OPTIONS)) for prompt in PROMPTS[:2])
        assert first.cancel()
        assert second.result().tokens


@pytest.mark.parametrize("reuse", [True, False])
def test_arguments_of_the_chat_template_reach_it(reuse: bool) -> None:
    tiny = tiny_models.llava()
    tiny.processor.chat_template = tiny.processor.chat_template + "{% if brief is defined %}{{ brief }}{% endif %}"
    lengths = []
    for args in ({}, {"brief": "be brief"}):
        with Engine(tiny.model, tiny.processor, reuse=reuse, chat_template_args=args) as engine:
            lengths.append([answer.input_tokens for answer in engine.answer(PROMPTS[:2], OPTIONS)])
    plain, brief = lengths
    assert [b - a for a, b in zip(plain, brief, strict=True)] == [len("be brief")] * 2


def test_a_listener_is_handed_the_events_of_a_stream() -> None:
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor) as engine:
        request = Request(PROMPTS[0], GenerationOptions(max_new_tokens=6))
        streamed = list(engine.stream(request))
        heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        engine.listen(request, heard.put)
        listened = [heard.get(timeout=60) for _ in streamed]
    assert listened == streamed
    assert listened[0].input_tokens == listened[-1].answer.input_tokens


def test_a_listener_that_ends_its_answer_hears_no_whole_one() -> None:
    tiny = tiny_models.llava()
    with Engine(tiny.model, tiny.processor, batch_size=1) as engine:
        heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        end = engine.listen(Request(PROMPTS[0], GenerationOptions(max_new_tokens=2000, temperature=1.0)), heard.put)
        end()
        end()
        engine.answer([PROMPTS[1]], GenerationOptions(max_new_tokens=2))  # the engine has gone on
    told = []
    while not heard.empty():
        told.append(heard.get())
    last = told[-1]
    assert isinstance(last, ModelError) or last.answer.finish_reason is FinishReason.INTERVENTION
