"""Verdicts on answers: what the official client sends and reads, and that nothing of a stopped window is shown."""

from __future__ import annotations

import copy
import json
import math
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch

import tiny_models
from holisafe.guard import Calibration, add_output_head, calibration_of, guard_of, set_calibration
from holisafe.models import Engine, GenerationOptions, OutputGuard, Prompt
from holisafe.records import ImageRef
from holisafe.serve import EngineBackend, Settings
from serve.site import NAME, SAFE, UNSAFE, Site, guarded, running, shown, wait_until

EVERY = 4
TOKENS = 14
TEXTS = ("What is it?", "Which one?", "Hm", "Tell me more about it.", "Why?", "And then?", "Go on.", "Is it good?")


def wish(mode: str) -> dict[str, Any]:
    return {"model": "holisafe", "policy": {"output": {"mode": mode}}}


@cache
def judging() -> tuple[tiny_models.Tiny, dict[str, Any]]:
    """The tiny model with an output head, and what the engine alone says of an answer that is stopped late and others.

    The threshold is such that an answer is flagged in its second window or later, and another is not.
    """
    made = guarded()
    tiny = tiny_models.Tiny(copy.deepcopy(made.model), made.processor)
    torch.manual_seed(1)
    add_output_head(tiny.model)
    with torch.no_grad():
        for weight in guard_of(tiny.model).output_head.parameters():  # type: ignore[union-attr]
            weight.mul_(3)
    with Engine(tiny.model, tiny.processor) as engine:
        prompts = [Prompt.ask(text, ImageRef("a", data=SAFE)) for text in TEXTS]
        answers = engine.answer(
            prompts,
            GenerationOptions(max_new_tokens=TOKENS),
            output=OutputGuard("score", EVERY),  # type: ignore[arg-type]
        )
    checks: dict[str, list[float]] = {}
    for text, answer in zip(TEXTS, answers, strict=True):
        assert answer.output is not None
        checks[text] = [check.unsafe for check in answer.output.checks]
    late = max(
        (text for text, found in checks.items() if max(found) > found[0] + 1e-3), key=lambda text: max(checks[text])
    )
    threshold = max(checks[late]) - 5e-4
    assert any(max(found) < threshold - 1e-4 for found in checks.values())
    set_calibration(tiny.model, Calibration(threshold=calibration_of(made.model).threshold, output_threshold=threshold))
    plain = {text: answer.text for text, answer in zip(TEXTS, answers, strict=True)}
    flagged = {text for text, found in checks.items() if max(found) >= threshold}
    return tiny, {"late": late, "plain": plain, "flagged": flagged}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    tiny, _ = judging()
    settings = Settings(decide_by="image", output_every=EVERY)  # type: ignore[arg-type]
    with (
        Engine(tiny.model, tiny.processor, window=0.005) as engine,
        running(EngineBackend(engine, NAME), settings) as at,
    ):
        yield at


def asked(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": shown(SAFE, text=text), "max_tokens": TOKENS, **fields}


def test_score_reports_and_answers(site: Site) -> None:
    _, known = judging()
    text = known["late"]
    before = site.count("output_verdicts_total", label="safe", action="pass")
    answer = site.client().chat.completions.create(**asked(text, moderation=wish("score")))
    assert answer.choices[0].message.content == known["plain"][text]
    assert answer.choices[0].finish_reason == "length"
    found = answer.moderation.output.results[0]
    assert found.flagged is True and found.model == "holisafe" and max(found.category_scores.values()) > 0
    safety = answer.answer_safety
    assert safety["flagged_at"] > EVERY and safety["checks"][-1]["tokens"] == TOKENS
    unflagged = next(each for each in TEXTS if each not in known["flagged"])
    assert site.chat(**asked(unflagged, moderation=wish("score"))).json()["answer_safety"]["flagged"] is False
    assert site.count("output_verdicts_total", label="safe", action="pass") == before + 1
    assert site.count("output_score_count") >= 2


def test_a_stream_that_scores_has_the_verdict_in_its_last_chunk(site: Site) -> None:
    _, known = judging()
    chunks = list(site.client().chat.completions.create(**asked(known["late"], stream=True, moderation=wish("score"))))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == known["plain"][known["late"]]
    assert [chunk.moderation is not None for chunk in chunks] == [True, *[False] * (len(chunks) - 2), True]
    assert chunks[0].moderation.output is None and chunks[0].moderation.input.results[0].flagged is False
    assert chunks[-1].moderation.output.results[0].flagged is True
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_blocked_stream_shows_nothing_of_the_stopped_window(site: Site) -> None:
    tiny, known = judging()
    text = known["late"]
    stopped = site.count("output_stopped_tokens_count")
    chunks = list(
        site.client().chat.completions.create(
            **asked(text, stream=True, moderation=wish("block"), stream_options={"include_usage": True})
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    at = next(chunk.answer_safety["flagged_at"] for chunk in chunks if hasattr(chunk, "answer_safety"))
    prompt = Prompt.ask(text, ImageRef("a", data=SAFE))
    with Engine(tiny.model, tiny.processor) as engine:
        tokens = engine.answer([prompt], GenerationOptions(max_new_tokens=TOKENS))[0].tokens
    let_through = tiny.processor.tokenizer.decode(tokens[: (at - 1) // EVERY * EVERY], skip_special_tokens=True).strip()
    assert let_through.startswith("".join(delta.content or "" for delta in deltas))
    refusals = [delta.refusal for delta in deltas if delta.refusal]
    assert len(refusals) == 1 and refusals[0].startswith("I'm sorry, but I can't go on with this")
    assert chunks[-2].choices[0].finish_reason == "content_filter" and chunks[-1].usage.completion_tokens == at
    assert site.count("output_stopped_tokens_count") == stopped + 1


def test_a_blocked_answer_is_the_refusal_alone(site: Site) -> None:
    _, known = judging()
    choice = site.chat(**asked(known["late"], moderation=wish("block"))).json()["choices"][0]
    assert choice["finish_reason"] == "content_filter" and choice["message"]["content"] is None
    assert choice["message"]["refusal"].startswith("I'm sorry")


def test_an_answer_of_one_token_is_judged(site: Site) -> None:
    reply = site.chat(**{**asked("Hm", moderation=wish("block")), "max_tokens": 1}).json()
    assert [check["tokens"] for check in reply["answer_safety"]["checks"]] == [1]


def test_many_clients_at_once_get_what_each_gets_alone(site: Site) -> None:
    _, known = judging()
    replies: dict[str, Any] = {}

    def ask(text: str) -> None:
        reply = site.chat(**asked(text, stream=True, moderation=wish("block")))
        lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
        replies[text] = [json.loads(line) for line in lines[:-1]]

    threads = [threading.Thread(target=ask, args=(text,)) for text in TEXTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < len(known["flagged"]) < len(TEXTS)
    for text, chunks in replies.items():
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        said = "".join(choice["delta"].get("content") or "" for choice in choices)
        assert (choices[-1]["finish_reason"] == "content_filter") is (text in known["flagged"])
        assert known["plain"][text].startswith(said)
        assert (said == known["plain"][text]) is (text not in known["flagged"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_is_stopped_ends_with_a_refusal(site: Site, stream: bool) -> None:
    _, known = judging()
    fields: dict[str, Any] = {
        "model": NAME, "input": known["late"], "max_output_tokens": TOKENS, "moderation": wish("block")
    }  # fmt: skip
    if stream:
        with site.client().responses.stream(**fields) as events:
            response = list(events)[-1].response
    else:
        response = site.client().responses.create(**fields)
    verdict = response.answer_safety
    assert (response.status == "incomplete") and response.moderation.output.flagged is verdict["flagged"]
    parts = [part.type for part in response.output[0].content]
    assert parts == (["output_text", "refusal"] if stream else ["refusal"]) if verdict["flagged"] else ["output_text"]


def test_a_client_cannot_weaken_the_policy_on_answers() -> None:
    tiny, known = judging()
    settings = Settings(decide_by="image", output_policy="block", output_every=EVERY)  # type: ignore[arg-type]
    with Engine(tiny.model, tiny.processor) as engine, running(EngineBackend(engine, NAME), settings, ui=True) as site:
        for field in ({}, {"moderation": wish("score")}, {"moderation": {"model": "holisafe"}}):
            reply = site.chat(**asked(known["late"], **field)).json()
            assert reply["choices"][0]["finish_reason"] == "content_filter"
        refused = site.chat(
            messages=shown(UNSAFE), moderation={"model": "holisafe", "policy": {"input": {"mode": "block"}}}
        )
        assert refused.json()["choices"][0]["message"]["refusal"] and "answer_safety" not in refused.json()


@pytest.mark.parametrize("mode", ["score", "block"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_guard_that_cannot_judge_an_answer_is_an_error(stream: bool, mode: str) -> None:
    tiny = copy.deepcopy(judging()[0].model)
    with torch.no_grad():
        next(guard_of(tiny).output_head.parameters()).fill_(math.nan)  # type: ignore[union-attr]
    settings = Settings(decide_by="image", output_every=EVERY)  # type: ignore[arg-type]
    with (
        Engine(tiny, judging()[0].processor) as engine,
        running(EngineBackend(engine, NAME), settings) as site,
    ):
        reply = site.chat(**asked("Hm", stream=stream, moderation=wish(mode)))
        assert "guard_unavailable" in reply.text and '"finish_reason":"' not in reply.text.replace(" ", "")
        assert stream or reply.status_code == 503
        if mode == "block":
            lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
            choices = [choice for line in lines for choice in json.loads(line).get("choices", ())]
            assert not any(choice["delta"].get("content") for choice in choices)


def test_a_server_that_judges_no_answers_says_so() -> None:
    tiny = guarded()
    with Engine(tiny.model, tiny.processor) as engine, running(EngineBackend(engine, NAME)) as site:
        blocked = site.chat(moderation=wish("block"))
        assert blocked.status_code == 400 and blocked.json()["error"]["param"] == "moderation.policy.output"
        scored = site.chat(moderation=wish("score")).json()
        assert scored["moderation"]["output"]["type"] == "error" and "answer_safety" not in scored


def test_a_client_that_leaves_frees_its_slot_while_text_is_held_back(site: Site) -> None:
    cancelled = site.count("request_cancelled_total")
    stream = site.client().chat.completions.create(
        **{**asked("Hm", stream=True, moderation=wish("block")), "max_tokens": 2000}
    )
    next(iter(stream))
    stream.close()
    wait_until(lambda: site.count("num_requests_running") == 0)
    wait_until(lambda: site.count("request_cancelled_total") == cancelled + 1)
