"""Answers and verdicts under every way of generating."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from transformers import LogitsProcessor, StoppingCriteria
from transformers.generation.configuration_utils import CompileConfig

from guard.prompts import assert_same, assert_same_images, batch, guard, tiny, two_rows, watched
from holisafe.errors import GuardError
from holisafe.guard import guard_of, guarded_generate
from holisafe.records import GuardVerdict
from tiny_models import FAMILIES

GREEDY = {"do_sample": False, "max_new_tokens": 5}
WAYS: dict[str, dict[str, Any]] = {
    "sampling": {"do_sample": True, "temperature": 0.9},
    "several samples": {"do_sample": True, "num_return_sequences": 3},
    "beam search": {"num_beams": 3, "num_return_sequences": 2},
    "sampled beams": {"num_beams": 3, "do_sample": True},
    "static cache": {"cache_implementation": "static"},
    "no cache": {"use_cache": False},
    "chunks that cut images": {"prefill_chunk_size": 5},
    "chunks and beams": {"prefill_chunk_size": 7, "num_beams": 2},
    "chunks and a static cache": {"prefill_chunk_size": 7, "cache_implementation": "static"},
}


@pytest.mark.parametrize(
    ("family", "features"),
    [*((family, "language") for family in FAMILIES), ("llava", "projector"), ("gemma3", "projector")],
)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_unguarded_answer_and_the_greedy_verdicts(family: str, way: str, features: str) -> None:
    made = tiny(family)
    options = {**GREEDY, **WAYS[way]}
    inputs = batch(made, two_rows())
    plain = seeded(lambda: made.model.generate(**inputs, **options))
    guard(made, features=features)
    expected = guarded_generate(made.model, inputs, **GREEDY).verdicts
    found = guarded_generate_seeded(made.model, inputs, options)
    assert torch.equal(found.sequences, plain)
    assert torch.equal(seeded(lambda: made.model.generate(**inputs, **options)), plain), "as does a plain generate"
    if family == "gemma3" and "prefill_chunk_size" in options:
        # its image tokens attend to each other in both directions, but not to those of a later chunk
        if features == "projector":
            for one, other in zip(found.verdicts, expected, strict=True):
                assert_same_images(one, other)
    else:
        assert_same(found.verdicts, expected)


def seeded(run: Callable[[], Any]) -> Any:
    torch.manual_seed(3)
    return run()


def guarded_generate_seeded(model: Any, inputs: dict[str, Any], options: dict[str, Any]) -> Any:
    return seeded(lambda: guarded_generate(model, inputs, **options))


@pytest.mark.parametrize("pooling", ["mean", "attention", "last"])
@pytest.mark.parametrize(("family", "features"), [("llava", "projector"), ("smolvlm", "language")])
def test_every_pooling_says_in_chunks_what_it_says_at_once(family: str, pooling: str, features: str) -> None:
    made = tiny(family)
    model = guard(made, pooling=pooling, features=features)
    inputs = batch(made, two_rows())
    whole = guarded_generate(model, inputs, **GREEDY).verdicts
    assert_same(guarded_generate(model, inputs, prefill_chunk_size=7, **GREEDY).verdicts, whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_a_left_padded_batch_are_judged_as_alone(family: str) -> None:
    made = tiny(family)
    model = guard(made)
    together = guarded_generate(model, batch(made, two_rows()), num_beams=2, **GREEDY).verdicts
    alone = [guarded_generate(model, batch(made, [row]), **GREEDY).verdicts[0] for row in two_rows()]
    assert_same(together, alone)
    assert len({round(image.probability, 5) for verdict in together for image in verdict.images}) == 3


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize(("kind", "within"), [(torch.bfloat16, 0.04), (torch.float16, 0.005)])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_changes_verdicts_by_rounding_alone(
    family: str, kind: torch.dtype, within: float, pooling: str
) -> None:
    made = tiny(family)
    model = guard(made, pooling=pooling)
    inputs = batch(made, two_rows())
    full = guarded_generate(model, inputs, **GREEDY).verdicts
    model.to(kind)
    halved = {key: value.to(kind) if value.is_floating_point() else value for key, value in inputs.items()}
    assert_same(guarded_generate(model, halved, **GREEDY).verdicts, full, within)


def test_large_states_do_not_overflow_float16_when_they_are_added_up() -> None:
    made = tiny("llava")
    model = guard(made)
    with torch.no_grad():
        model.get_decoder().norm.weight.mul_(1e4)  # 16 visual tokens: any one fits, their sum does not
        guard_of(model).image_head.mlp[0].weight.mul_(1e-4)
        guard_of(model).joint_head.mlp[0].weight.mul_(1e-4)
    inputs = batch(made, two_rows())
    full = guarded_generate(model, inputs, **GREEDY).verdicts
    model.to(torch.float16)
    inputs["pixel_values"] = inputs["pixel_values"].half()
    assert_same(guarded_generate(model, inputs, **GREEDY).verdicts, full, 0.02)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_a_compiled_decoding_step_is_the_same_graph_with_a_guard(family: str) -> None:
    def compiled(made: Any, run: Callable[..., Any]) -> tuple[Any, dict[str, int], int, int]:
        torch._dynamo.reset()
        counters.clear()
        how = CompileConfig(backend="eager", mode=None)
        how._compile_all_devices = True
        options = {**GREEDY, "cache_implementation": "static", "compile_config": how}
        answers = [run(**options), run(**options)]
        stats = {key: counters["stats"][key] for key in ("calls_captured", "unique_graphs")}
        return answers, stats, sum(counters["graph_break"].values()), sum(counters["recompiles"].values())

    made = tiny(family)
    inputs = batch(made, two_rows())
    answers, *plain = compiled(made, lambda **options: made.model.generate(**inputs, **options).tolist())
    assert plain[0]["unique_graphs"] > 0, "nothing was compiled, so nothing is shown"
    guard(made)
    for run in (
        lambda **options: made.model.generate(**inputs, **options).tolist(),
        lambda **options: guarded_generate(made.model, inputs, **options).sequences.tolist(),
    ):
        again, *guarded = compiled(made, run)
        assert again == answers
        assert guarded == plain


def test_texts_are_the_answers_without_their_prompts() -> None:
    made = tiny("llava")
    model = guard(made)
    inputs = batch(made, two_rows())
    found = guarded_generate(model, inputs, processor=made.processor, num_beams=2, num_return_sequences=2, **GREEDY)
    told = guarded_generate(
        model, inputs, processor=made.processor, num_beams=2, num_return_sequences=2, return_dict_in_generate=True,
        **GREEDY,
    )  # fmt: skip
    assert len(found.texts) == 4 and len(found.verdicts) == 2
    assert told.texts == found.texts and torch.equal(told.sequences.sequences, found.sequences)


class _Stop(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt


class _StopLater(StoppingCriteria):
    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
        raise RuntimeError("stopped")


@pytest.mark.parametrize("chunks", [None, 5])
@pytest.mark.parametrize(
    ("error", "options"),
    [(KeyboardInterrupt, {"logits_processor": [_Stop()]}), (RuntimeError, {"stopping_criteria": [_StopLater()]})],
)
def test_an_interrupted_answer_leaves_the_guard_usable(
    error: type[BaseException], options: dict[str, Any], chunks: int | None
) -> None:
    made = tiny("llava")
    model = guard(made)
    inputs = batch(made, two_rows())
    expected = guarded_generate(model, inputs, **GREEDY)
    with torch.no_grad():
        logits = watched(model, **inputs)["image_logits"]
    with pytest.raises(error):
        guarded_generate(model, inputs, prefill_chunk_size=chunks, **GREEDY, **options)
    with torch.no_grad():
        assert torch.equal(watched(model, **inputs)["image_logits"], logits), "a forward pass speaks again"
    assert_same(guarded_generate(model, inputs, **GREEDY).verdicts, expected.verdicts)


def test_an_error_between_two_chunks_leaves_the_guard_usable() -> None:
    made = tiny("llava")
    model = guard(made)
    inputs = batch(made, two_rows())
    expected = guarded_generate(model, inputs, **GREEDY).verdicts
    passes = 0

    def fail(*_: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 3:
            raise KeyboardInterrupt

    hook = model.get_decoder().layers[1].register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        guarded_generate(model, inputs, prefill_chunk_size=5, **GREEDY)
    with pytest.raises(KeyboardInterrupt):
        passes = 2
        model(**inputs)
    hook.remove()
    assert_same(guarded_generate(model, batch(made, two_rows()[:1]), **GREEDY).verdicts, expected[:1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("policy", ["observe", "warn", "refuse"])
def test_prompts_without_images_have_a_request_verdict_alone(family: str, policy: str) -> None:
    made = tiny(family)
    model = guard(made)
    text, shown = ([], "what is this?"), two_rows()[0]
    mixed = guarded_generate(model, batch(made, [text, shown, text]), policy=policy, **GREEDY).verdicts
    alone = [guarded_generate(model, batch(made, [row]), policy=policy, **GREEDY).verdicts[0] for row in (text, shown)]
    assert_same(mixed, [alone[0], alone[1], alone[0]])
    assert [len(verdict.images) for verdict in mixed] == [0, 1, 0]
    assert all(verdict.request is not None for verdict in mixed)


@pytest.mark.parametrize("meta", [{}, {"meta_token": True}])
@pytest.mark.parametrize("policy", ["observe", "refuse"])
def test_without_a_joint_head_a_prompt_without_image_has_an_empty_verdict(policy: str, meta: dict[str, Any]) -> None:
    made = tiny("llava")
    inputs = batch(made, [([], "what is this?")])
    plain = made.model.generate(**inputs, **GREEDY)
    model = guard(made, joint_head=False, **meta)
    found = guarded_generate(model, inputs, processor=made.processor, policy=policy, **GREEDY)
    assert found.verdicts == (GuardVerdict(),)
    assert torch.equal(found.sequences, plain)
    assert not found.decisions[0].flagged and found.decisions[0].decided_by is None


def test_inputs_without_ids_are_refused() -> None:
    with pytest.raises(GuardError, match="expected input_ids among the inputs, found none"):
        guarded_generate(guard(tiny("llava")), {}, **GREEDY)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_forward_pass_without_images_has_a_joint_verdict_alone(family: str) -> None:
    made = tiny(family)
    model = guard(made)
    ids = made.processor.tokenizer("hello there", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        output = watched(model, input_ids=ids)
    assert output["joint_logits"].shape == (1, 12) and "image_logits" not in output


def test_features_that_are_not_finite_give_an_error_and_no_verdict() -> None:
    made = tiny("llava")
    model = guard(made)
    inputs = batch(made, two_rows())
    expected = guarded_generate(model, inputs, **GREEDY).verdicts
    norm = model.get_decoder().norm.weight
    kept = norm.detach().clone()
    with torch.no_grad():
        norm[0] = float("nan")
    with pytest.raises(GuardError, match="image 1 of 3: the model's features are not finite"):
        guarded_generate(model, inputs, **GREEDY)
    with torch.no_grad():
        norm.copy_(kept)
    assert_same(guarded_generate(model, inputs, **GREEDY).verdicts, expected)


def test_a_prompt_that_was_read_in_part_is_refused() -> None:
    made = tiny("llava")
    model = guard(made)
    inputs = batch(made, [two_rows()[0]])
    head = {key: value[:, :4] for key, value in inputs.items() if key != "pixel_values"}
    cache = model.model.language_model(head["input_ids"], use_cache=True).past_key_values
    with pytest.raises(GuardError, match="past_key_values holds the beginning"):
        guarded_generate(model, inputs, past_key_values=cache, **GREEDY)


def test_inputs_without_ids_get_no_verdict_of_another_prompt() -> None:
    made = tiny("llava")
    model = guard(made)
    with torch.no_grad():
        assert "image_logits" in watched(model, **batch(made, two_rows()))
        output = watched(model, inputs_embeds=torch.randn(1, 4, 32))
    assert "image_logits" not in output and "joint_logits" not in output


def test_positional_inputs_are_read_as_named_ones() -> None:
    made = tiny("llava_onevision")  # only its features tell two adjacent images apart
    model = guard(made)
    inputs = batch(made, [two_rows()[1]])
    with torch.no_grad():
        named = watched(model, **inputs)["image_logits"]
        others = {key: value for key, value in inputs.items() if key not in ("input_ids", "pixel_values")}
        found = watched(model, inputs["input_ids"], inputs["pixel_values"], **others)["image_logits"]
    assert torch.equal(found, named)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_prefill_in_chunks_that_hold_images_of_several_prompts_goes_on(family: str) -> None:
    made = tiny(family)
    inputs = batch(made, two_rows())
    options = {**GREEDY, "prefill_chunk_size": 16}
    plain = made.model.generate(**inputs, **options)
    guard(made)
    assert torch.equal(made.model.generate(**inputs, **options), plain)


def test_threads_that_ask_one_model_get_the_verdicts_on_their_own_images() -> None:
    made = tiny("llava")
    guard(made)
    asked = [batch(made, [row]) for row in two_rows()]
    expected = [guarded_generate(made.model, inputs, **GREEDY).verdicts for inputs in asked]
    ready = threading.Barrier(len(asked))

    def ask(at: int) -> list[Any]:
        ready.wait()
        return [guarded_generate(made.model, asked[at], **GREEDY).verdicts for _ in range(10)]

    with ThreadPoolExecutor(len(asked)) as threads:
        for found, right in zip(threads.map(ask, range(len(asked))), expected, strict=True):
            assert found == [right] * 10
