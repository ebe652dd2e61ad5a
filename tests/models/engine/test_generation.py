"""How an answer is generated: options, streaming, interventions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import tiny_models
from holisafe.errors import ModelError, UnknownNameError
from holisafe.guard import GuardConfig, attach_guard
from holisafe.models import (
    Answer,
    End,
    Engine,
    FinishEvent,
    FinishReason,
    GenerationOptions,
    Insert,
    Intervention,
    PolicyIntervention,
    Prompt,
    Request,
    TokenEvent,
    VerdictEvent,
)
from holisafe.models.engine.decode import sample
from holisafe.models.engine.options import generation_config
from holisafe.records import GuardVerdict
from models.engine.pictures import PROMPTS, WIDE

OPTIONS = GenerationOptions(max_new_tokens=12)


@pytest.fixture
def tiny() -> tiny_models.Tiny:
    return tiny_models.llava()


def answers(tiny: Any, requests: list[Request], **options: Any) -> list[Answer]:
    with Engine(tiny.model, tiny.processor, **options) as engine:
        return [each.result() for each in [engine.submit(request) for request in requests]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens: found 0"),
        ({"max_new_tokens": True}, "max_new_tokens: found True"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"seed": -3}, "seed"),
        ({"stop": "end"}, "stop"),
        ({"stop": ("",)}, "stop"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        GenerationOptions(**options)


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_a_stream_gives_the_text_and_tokens_of_the_batched_answer(family: str) -> None:
    tiny = tiny_models.FAMILIES[family]()
    expected = answers(tiny, [Request(prompt, OPTIONS) for prompt in PROMPTS])
    with Engine(tiny.model, tiny.processor) as engine:
        for prompt, answer in zip(PROMPTS, expected, strict=True):
            first, *deltas, last = engine.stream(Request(prompt, OPTIONS))
            assert isinstance(first, VerdictEvent) and isinstance(last, FinishEvent)
            assert "".join(event.text for event in deltas if isinstance(event, TokenEvent)) == answer.text
            assert last.answer == answer


def test_a_stream_of_a_bad_prompt_ends_in_its_error(tiny: tiny_models.Tiny) -> None:
    with Engine(tiny.model, tiny.processor) as engine, pytest.raises(ModelError, match="context"):
        list(engine.stream(Request(Prompt.ask("long " * 2000, WIDE), OPTIONS)))


def test_a_stream_that_is_dropped_before_its_first_event_is_not_answered(tiny: tiny_models.Tiny) -> None:
    with Engine(tiny.model, tiny.processor, batch_size=1) as engine:
        for end in (lambda stream: stream.close(), lambda stream: None):
            stream = engine.stream(Request(PROMPTS[0], GenerationOptions(max_new_tokens=2000)))
            listener = stream._listener
            end(stream)
            del stream
            assert not listener.is_open
        assert engine.answer([PROMPTS[0]], OPTIONS)[0].tokens  # the engine's thread is free again


def test_a_stream_that_is_closed_ends_the_answer(tiny: tiny_models.Tiny) -> None:
    steps: list[int] = []

    @dataclass(frozen=True)
    class Count(Intervention):
        def on_token(self, step: int, token: int) -> None:
            steps.append(step)

    with Engine(tiny.model, tiny.processor) as engine:
        stream = engine.stream(Request(PROMPTS[0], GenerationOptions(max_new_tokens=2000), (Count(),)))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert engine.answer(PROMPTS[1:2], OPTIONS)
    assert len(steps) < 2000


def test_sampling_with_a_seed_is_the_same_alone_and_among_others(tiny: tiny_models.Tiny) -> None:
    drawn = [
        Request(prompt, GenerationOptions(max_new_tokens=12, temperature=0.9, top_p=0.95, top_k=50, seed=place))
        for place, prompt in enumerate(PROMPTS)
    ]
    alone = [answers(tiny, [request])[0] for request in drawn]
    together = answers(tiny, drawn)
    assert together == alone == answers(tiny, drawn[::-1])[::-1]
    greedy = answers(tiny, [Request(prompt, OPTIONS) for prompt in PROMPTS])
    assert [answer.tokens for answer in greedy] != [answer.tokens for answer in alone]


def test_greedy_answers_do_not_change_beside_sampled_ones(tiny: tiny_models.Tiny) -> None:
    sampled = GenerationOptions(max_new_tokens=12, temperature=2.0, seed=1)
    mixed = answers(tiny, [Request(PROMPTS[0], OPTIONS), Request(PROMPTS[1], sampled), Request(PROMPTS[2], OPTIONS)])
    plain = answers(tiny, [Request(PROMPTS[0], OPTIONS), Request(PROMPTS[2], OPTIONS)])
    assert [mixed[0], mixed[2]] == plain


def test_an_answer_ends_before_a_stop_text(tiny: tiny_models.Tiny) -> None:
    (whole,) = answers(tiny, [Request(PROMPTS[2], OPTIONS)])
    stop = whole.text[2:4]
    options = GenerationOptions(max_new_tokens=12, stop=(stop,))
    (cut,) = answers(tiny, [Request(PROMPTS[2], options)])
    assert cut.text == whole.text[: whole.text.index(stop)].rstrip()
    assert cut.finish_reason is FinishReason.STOP
    with Engine(tiny.model, tiny.processor) as engine:
        events = list(engine.stream(Request(PROMPTS[2], options)))
    assert "".join(event.text for event in events if isinstance(event, TokenEvent)) == cut.text


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=30),
    st.floats(0.1, 3),
    st.floats(0.01, 1),
    st.integers(0, 40),
    st.integers(0, 2**32),
)
def test_sampled_tokens_are_among_those_that_top_p_and_top_k_leave(
    logits: list[float], temperature: float, top_p: float, top_k: int, seed: int
) -> None:
    options = GenerationOptions(temperature=temperature, top_p=top_p, top_k=top_k)
    token = sample(torch.tensor(logits), options, torch.Generator().manual_seed(seed))
    scores = torch.tensor(logits).double() / temperature
    if 0 < top_k < len(logits):
        assert scores[token] >= scores.topk(top_k).values[-1]
    probabilities = torch.where(
        scores >= (scores.topk(top_k).values[-1] if 0 < top_k < len(logits) else -torch.inf), scores.exp(), 0.0
    )
    more_probable = probabilities[probabilities > probabilities[token]].sum() / probabilities.sum()
    assert more_probable < top_p + 1e-9


def test_the_checkpoints_own_generation_settings_are_not_used(tiny: tiny_models.Tiny) -> None:
    before = answers(tiny, [Request(prompt, OPTIONS) for prompt in PROMPTS])
    odd = tiny.model.generation_config
    odd.num_return_sequences, odd.num_beams, odd.do_sample, odd.temperature = 3, 4, True, 9.0
    odd.return_dict_in_generate, odd.repetition_penalty, odd.max_length, odd.min_new_tokens = True, 5.0, 3, 30
    odd.forced_eos_token_id, odd.stop_strings, odd.no_repeat_ngram_size = 5, ["a"], 1
    odd.cache_implementation, odd.output_scores, odd.bad_words_ids = "static", True, [[180], [36]]
    odd.guidance_scale, odd.prompt_lookup_num_tokens, odd.made_up = 3.0, 4, "x"
    assert answers(tiny, [Request(prompt, OPTIONS) for prompt in PROMPTS]) == before


def test_odd_token_ids_of_a_checkpoint_are_named(tiny: tiny_models.Tiny) -> None:
    tiny.model.generation_config.eos_token_id = "</s>"
    with pytest.raises(ModelError, match=r"generation_config\.json: eos_token_id: found '</s>', expected token ids"):
        generation_config(tiny.model, tiny.processor.tokenizer, 4)


@dataclass(frozen=True)
class Forbid(Intervention):
    """Never a token of these."""

    tokens: tuple[int, ...]

    def on_logits(self, step: int, logits: Tensor) -> Tensor:
        changed = logits.clone()
        changed[list(self.tokens)] = -torch.inf
        return changed


@dataclass(frozen=True)
class Scale(Intervention):
    """Embeddings times a factor."""

    factor: float
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def on_embeddings(self, embeddings: Tensor) -> Tensor:
        self.seen.append(tuple(embeddings.shape))
        return embeddings * self.factor


@dataclass(frozen=True)
class EndAfter(Intervention):
    """A text of one's own after some tokens."""

    tokens: int

    def on_token(self, step: int, token: int) -> End | None:
        return End("(end)") if step + 1 == self.tokens else None


@dataclass(frozen=True)
class Preface(Intervention):
    """A text before the answer."""

    def on_prefill(self, verdict: GuardVerdict) -> Insert:
        return Insert("Note.\n\n")


def test_an_intervention_changes_the_logits_of_its_own_request_alone(tiny: tiny_models.Tiny) -> None:
    plain = answers(tiny, [Request(prompt, OPTIONS) for prompt in PROMPTS])
    forbid = Forbid(plain[0].tokens[:2])
    found = answers(tiny, [Request(PROMPTS[0], OPTIONS, (forbid,)), *(Request(p, OPTIONS) for p in PROMPTS[1:])])
    assert found[1:] == plain[1:]
    assert not set(found[0].tokens) & set(forbid.tokens)


def test_an_intervention_sees_the_embeddings_of_its_prompt_without_padding(tiny: tiny_models.Tiny) -> None:
    same, other = Scale(1.0), Scale(1.5)
    plain = answers(tiny, [Request(prompt, OPTIONS) for prompt in PROMPTS])
    found = answers(
        tiny,
        [Request(PROMPTS[0], OPTIONS, (same,)), Request(PROMPTS[2], OPTIONS, (other,))],
        prefix_worth=0,
    )
    assert found[0] == plain[0]
    assert found[1].tokens != plain[2].tokens
    assert same.seen == [(plain[0].input_tokens, 32)] and other.seen == [(plain[2].input_tokens, 32)]


def test_an_intervention_may_end_the_answer_with_its_own_text(tiny: tiny_models.Tiny) -> None:
    (plain,) = answers(tiny, [Request(PROMPTS[2], OPTIONS)])
    (found,) = answers(tiny, [Request(PROMPTS[2], OPTIONS, (EndAfter(3),))])
    assert found.tokens == plain.tokens[:3]
    assert found.text.endswith("(end)") and found.finish_reason is FinishReason.INTERVENTION
    (noted,) = answers(tiny, [Request(PROMPTS[2], OPTIONS, (Preface(),))])
    assert noted.text == f"Note.\n\n{plain.text}" and noted.tokens == plain.tokens


def test_logits_of_another_shape_fail_alone(tiny: tiny_models.Tiny) -> None:
    @dataclass(frozen=True)
    class Shorten(Intervention):
        def on_logits(self, step: int, logits: Tensor) -> Tensor:
            return logits[:5]

    with Engine(tiny.model, tiny.processor) as engine:
        wrong = engine.submit(Request(PROMPTS[0], OPTIONS, (Shorten(),)))
        right = engine.submit(Request(PROMPTS[1], OPTIONS))
        assert right.result().tokens
        with pytest.raises(ModelError, match=r"Shorten\.on_logits gave the shape"):
            wrong.result()


@pytest.mark.parametrize("reuse", [False, True])
def test_a_policy_refuses_or_warns_from_the_verdict_of_the_same_prefill(tiny: tiny_models.Tiny, reuse: bool) -> None:
    attach_guard(tiny.model, GuardConfig(), processor=tiny.processor)
    tiny.model.eval()
    requests = [Request(PROMPTS[0], OPTIONS, (PolicyIntervention(policy),)) for policy in ("observe", "warn", "refuse")]  # type: ignore[arg-type]
    observed, warned, refused = answers(tiny, requests, reuse=reuse, prefix_worth=0)
    assert observed.verdict.flagged  # an untrained guard is far from sure of "safe"
    assert warned.text.startswith("Note: ") and warned.text.endswith(observed.text)
    assert refused.text.startswith("I'm sorry") and refused.tokens == ()
    assert refused.finish_reason is FinishReason.INTERVENTION
    with Engine(tiny.model, tiny.processor, reuse=reuse) as engine:
        verdict, text, end = engine.stream(requests[2])
    assert isinstance(verdict, VerdictEvent) and verdict.verdict.flagged
    assert isinstance(text, TokenEvent) and text.text == refused.text
    assert isinstance(end, FinishEvent)


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="nonsense"):
        PolicyIntervention("nonsense")  # type: ignore[arg-type]
