"""Answers are judged while they are generated: by the states that decoding has, and before they are told."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch

import tiny_models
from holisafe.errors import GuardError, ModelError, UnknownNameError
from holisafe.families.features import forward_inputs
from holisafe.guard import (
    Calibration,
    GuardConfig,
    answer_states,
    attach_guard,
    guard_of,
    places_of,
    set_calibration,
)
from holisafe.guard.output import AnswerStates
from holisafe.models import (
    Answer,
    End,
    Engine,
    Event,
    FinishEvent,
    FinishReason,
    GenerationOptions,
    Insert,
    Intervention,
    OutputEvent,
    OutputGuard,
    Prompt,
    Request,
    TokenEvent,
)
from models.engine.test_guarded_answers import PROMPTS

OPTIONS = GenerationOptions(max_new_tokens=22)
SCORE = OutputGuard("score", every=4)  # type: ignore[arg-type]
BLOCK = OutputGuard("block", every=4)  # type: ignore[arg-type]


def watched(family: str = "llava", threshold: float = 1.0) -> Any:
    """A tiny model whose guard has an output head that tells tokens apart."""
    tiny = tiny_models.FAMILIES[family]()
    torch.manual_seed(5)
    attach_guard(tiny.model, GuardConfig(output_head=True), processor=tiny.processor)
    with torch.no_grad():
        for weight in guard_of(tiny.model).output_head.parameters():  # type: ignore[union-attr]
            weight.mul_(3)
    set_calibration(tiny.model, Calibration(output_threshold=threshold))
    tiny.model.eval()
    return tiny


def scores(answer: Answer) -> list[float]:
    assert answer.output is not None
    return [check.unsafe for check in answer.output.checks]


def recomputed(engine: Engine, prompt: Prompt, answer: Answer, every: int) -> list[float]:
    """The same by one forward pass over prompt and answer."""
    places = places_of(len(answer.tokens), every)

    def read(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        return guard_of(model).judge_answers(answer_states(model, inputs, answer.tokens, places))

    logits = engine.look(prompt, read).result()
    return torch.softmax(logits[:, :2].double(), -1)[:, 1].tolist()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "llava_onevision"])
def test_probabilities_are_those_of_one_forward_pass_over_prompt_and_answer(family: str) -> None:
    tiny = watched(family)
    image_token = forward_inputs(tiny.model).image_token
    tiny.model.generation_config.suppress_tokens = [image_token]  # a random model writes it, too
    with Engine(tiny.model, tiny.processor, batch_size=5, prefix_worth=0) as engine:
        answers = engine.answer(PROMPTS, OPTIONS, output=SCORE)
        for prompt, answer in zip(PROMPTS, answers, strict=True):
            assert answer.output is not None
            assert [check.tokens for check in answer.output.checks] == places_of(len(answer.tokens), 4)
            assert scores(answer) == pytest.approx(recomputed(engine, prompt, answer, 4), abs=1e-5)
    assert len({round(score, 3) for answer in answers for score in scores(answer)}) > 5


def test_a_judged_answer_is_the_answer() -> None:
    tiny = watched()
    with Engine(tiny.model, tiny.processor) as engine:
        judged, plain = engine.answer(PROMPTS, OPTIONS, output=SCORE), engine.answer(PROMPTS, OPTIONS)
    assert [(each.text, each.tokens, each.finish_reason) for each in judged] == [
        (each.text, each.tokens, each.finish_reason) for each in plain
    ]
    assert all(each.output is None for each in plain)


def second_window(answers: Sequence[Answer]) -> tuple[int, float, int]:
    """An answer with a check above all before it, after the first; the threshold, and the tokens read there."""
    for place, answer in enumerate(answers):
        assert answer.output is not None
        checks = answer.output.checks
        for at in range(1, len(checks)):
            if checks[at].unsafe > max(check.unsafe for check in checks[:at]) + 1e-3:
                return place, checks[at].unsafe - 5e-4, checks[at].tokens
    raise AssertionError("no answer grows worse")


def test_a_stopped_answer_tells_nothing_of_the_stopped_window_and_leaves_the_batch_alone() -> None:
    tiny = watched()
    with Engine(tiny.model, tiny.processor) as engine:
        scored = engine.answer(PROMPTS, OPTIONS, output=SCORE)
        place, threshold, tokens = second_window(scored)
        set_calibration(tiny.model, Calibration(output_threshold=threshold))
        blocked = engine.answer(PROMPTS, OPTIONS, output=BLOCK)
        events = list(engine.stream(Request(PROMPTS[place], OPTIONS, output=BLOCK)))
    for before, after in zip(scored, blocked, strict=True):
        assert before.output is not None and after.output is not None
        flagged = before.output.unsafe >= threshold
        assert (after.finish_reason is FinishReason.BLOCKED) is flagged is after.output.flagged
        if not flagged:
            assert (after.text, after.tokens) == (before.text, before.tokens)
            assert scores(after) == pytest.approx(scores(before), abs=1e-5)
        else:
            assert after.text.startswith("I'm sorry, but I can't go on with this")
            assert after.output.flagged_at == after.output.checks[-1].tokens
    told = "".join(event.text for event in events if isinstance(event, TokenEvent))
    last = events[-1]
    assert isinstance(last, FinishEvent) and told == last.answer.text
    shown, _, refusal = told.rpartition("I'm sorry")
    judged = scored[place].tokens[: (tokens - 1) // 4 * 4]
    let_through = tiny.processor.tokenizer.decode(judged, skip_special_tokens=True).strip()
    assert refusal and let_through.startswith(shown.strip()) and last.answer.tokens == judged


def test_text_is_told_only_after_it_has_been_judged() -> None:
    tiny = watched()
    with Engine(tiny.model, tiny.processor) as engine:
        events = list(engine.stream(Request(PROMPTS[0], OPTIONS, output=BLOCK)))
        plain = engine.answer(PROMPTS[:1], OPTIONS)[0]
    judged, told = 0, ""
    for event in events:
        if isinstance(event, OutputEvent):
            judged = event.verdict.checks[-1].tokens
        if isinstance(event, TokenEvent):
            told += event.text
            text = tiny.processor.tokenizer.decode(plain.tokens[:judged], skip_special_tokens=True).strip()
            assert text.startswith(told)
    assert told == plain.text and judged == len(plain.tokens)


class Note(Intervention):
    """Ends the answer after its sixth token."""

    def on_token(self, step: int, token: int) -> Any:
        return End("!") if step == 5 else None


@pytest.mark.parametrize("how", ["length", "stop", "intervention", "end token"])
def test_the_last_token_is_always_judged(how: str) -> None:
    tiny = watched()
    plain = Request(PROMPTS[0], OPTIONS)
    with Engine(tiny.model, tiny.processor) as engine:
        tokens = engine.submit(plain).result().tokens
        text = engine.submit(plain).result().text
        if how == "end token":
            tiny.model.generation_config.eos_token_id = tokens[9]
        request = Request(
            PROMPTS[0],
            GenerationOptions(max_new_tokens=22, stop=(text[7:9],) if how == "stop" else ()),
            (Note(),) if how == "intervention" else (),
            BLOCK,
        )
        answer = engine.submit(request).result()
        expected = recomputed(engine, PROMPTS[0], answer, 4)
    reasons = {"length": FinishReason.LENGTH, "intervention": FinishReason.INTERVENTION}
    assert answer.finish_reason is reasons.get(how, FinishReason.STOP)
    assert answer.output is not None and answer.output.checks[-1].tokens == len(answer.tokens) > 0
    assert scores(answer) == pytest.approx(expected, abs=1e-5)


def test_a_note_before_the_answer_is_told_at_once() -> None:
    class Warned(Intervention):
        def on_prefill(self, verdict: Any) -> Insert:
            return Insert("Note: careful.\n\n")

    tiny = watched()
    with Engine(tiny.model, tiny.processor) as engine:
        events: list[Event] = list(engine.stream(Request(PROMPTS[0], OPTIONS, (Warned(),), BLOCK)))
    first = next(event for event in events if isinstance(event, TokenEvent))
    assert first.text.startswith("Note: careful.")


def test_a_guard_that_cannot_judge_ends_the_answer_before_anything_is_told() -> None:
    tiny = watched()
    with torch.no_grad():
        next(guard_of(tiny.model).output_head.parameters()).fill_(math.nan)  # type: ignore[union-attr]
    told = []
    with (
        Engine(tiny.model, tiny.processor) as engine,
        pytest.raises(GuardError, match="not finite"),
    ):
        for event in engine.stream(Request(PROMPTS[0], OPTIONS, output=BLOCK)):
            told.append(event)
    assert not [event for event in told if isinstance(event, TokenEvent)]


def test_a_closed_stream_ends_while_its_text_is_held_back() -> None:
    tiny = watched()
    held_back = OutputGuard("block", every=10_000)  # type: ignore[arg-type]
    with Engine(tiny.model, tiny.processor) as engine:
        stream = engine.stream(Request(PROMPTS[0], GenerationOptions(max_new_tokens=3000), output=held_back))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert engine.answer(PROMPTS[:1], OPTIONS)[0].tokens


def test_states_of_another_thread_are_not_taken() -> None:
    tiny = watched()
    with AnswerStates(tiny.model) as states:
        ids = torch.tensor([[5, 6, 7]])
        thread = threading.Thread(target=lambda: tiny.model(input_ids=ids))
        thread.start()
        thread.join()
        with pytest.raises(GuardError, match="was not seen"):
            states.check([0], [1])


def test_what_cannot_be_asked_for_is_refused() -> None:
    tiny = tiny_models.llava()
    attach_guard(tiny.model, GuardConfig())
    with Engine(tiny.model, tiny.processor) as engine, pytest.raises(GuardError, match="guard train-output"):
        engine.answer(PROMPTS[:1], OPTIONS, output=BLOCK)
    with pytest.raises(ModelError, match="every: found 0"):
        OutputGuard(every=0)
    with pytest.raises(UnknownNameError, match="output mode"):
        OutputGuard("stop")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="output: expected OutputGuard"):
        Request(PROMPTS[0], output="block")  # type: ignore[arg-type]
