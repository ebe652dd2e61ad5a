"""Chat completions: what the official client sends and reads, and what a flag leads to."""

from __future__ import annotations

import json
import re
import socket
import threading
from typing import Any

import httpx
import pytest

from holisafe.models import Engine, GenerationOptions, Prompt
from holisafe.records import ImageRef, Role, Turn
from holisafe.serve import EngineBackend, Settings
from serve.site import (
    BLOCK,
    NAME,
    SAFE,
    SCORE,
    UNSAFE,
    Site,
    endless_site,
    engine_site,
    guarded,
    running,
    shown,
    wait_until,
)


def test_an_answer_is_the_one_that_the_engine_gives(site: Site) -> None:
    tiny = guarded()
    with Engine(tiny.model, tiny.processor) as engine:
        prompt = Prompt.ask("What is it?", ImageRef("a", data=SAFE))
        alone = engine.answer([prompt], GenerationOptions(max_new_tokens=8))[0]
    answer = site.client().chat.completions.create(model=NAME, messages=shown(SAFE), max_tokens=8)
    assert answer.choices[0].message.content == alone.text
    assert answer.usage.prompt_tokens == alone.input_tokens
    assert answer.usage.completion_tokens == len(alone.tokens)
    assert answer.usage.total_tokens == alone.input_tokens + len(alone.tokens)
    assert answer.image_safety[0]["unsafe"] == pytest.approx(alone.verdict.images[0].unsafe, abs=1e-6)


def test_a_stream_joined_is_the_whole_answer(site: Site) -> None:
    whole = site.client().chat.completions.create(model=NAME, messages=shown(SAFE), max_tokens=8)
    stream = site.client().chat.completions.create(
        model=NAME, messages=shown(SAFE), max_tokens=8, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"


def test_the_verdict_comes_before_the_first_piece_of_the_answer(site: Site) -> None:
    chunks = list(
        site.client().chat.completions.create(
            model=NAME, messages=shown(SAFE), max_tokens=4, stream=True, moderation=SCORE
        )
    )
    assert chunks[0].choices == []
    assert chunks[0].moderation.input.results[0].flagged is False
    assert all(chunk.moderation is None for chunk in chunks[1:])


def test_a_client_that_asks_for_no_verdict_has_no_chunk_without_choices(site: Site) -> None:
    chunks = list(site.client().chat.completions.create(model=NAME, messages=shown(SAFE), max_tokens=4, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert chunks[0].moderation.input.results[0].flagged is False


@pytest.mark.parametrize("stream", [False, True])
def test_block_refuses_a_flagged_image(site: Site, stream: bool) -> None:
    reply = site.chat(messages=shown(UNSAFE), moderation=BLOCK, stream=stream)
    assert reply.status_code == 200
    choices = [choice for part in _parts(reply) for choice in part["choices"]]
    said = [choice.get("message", choice.get("delta")) for choice in choices]
    assert choices[-1]["finish_reason"] == "content_filter"
    assert not any(each.get("content") for each in said)
    refusals = [each["refusal"] for each in said if each.get("refusal")]
    assert len(refusals) == 1 and refusals[0].startswith("I'm sorry")
    assert _parts(reply)[0]["moderation"]["input"]["results"][0]["flagged"] is True


def test_score_answers_a_flagged_image_and_says_so(site: Site) -> None:
    answer = site.chat(messages=shown(UNSAFE), moderation=SCORE).json()
    assert answer["choices"][0]["finish_reason"] == "length" and answer["choices"][0]["message"]["content"]
    assert answer["image_safety"][0]["flagged"] is True


def test_block_answers_what_is_not_flagged(site: Site) -> None:
    assert site.chat(moderation=BLOCK).json()["choices"][0]["finish_reason"] == "length"


def test_a_client_cannot_weaken_the_policy_of_the_server() -> None:
    with engine_site(Settings(policy="block", decide_by="image")) as site:  # type: ignore[arg-type]
        for field in ({}, {"moderation": SCORE}):
            reply = site.chat(messages=shown(UNSAFE), **field)
            assert reply.json()["choices"][0]["finish_reason"] == "content_filter"


def test_each_of_several_images_has_a_verdict_in_their_order(site: Site) -> None:
    answer = site.chat(messages=shown(SAFE, UNSAFE, SAFE)).json()
    assert [each["flagged"] for each in answer["image_safety"]] == [False, True, False]


def test_the_same_seed_gives_the_same_answer(site: Site) -> None:
    said = [
        site.chat(temperature=1.0, seed=seed, max_tokens=12).json()["choices"][0]["message"]["content"]
        for seed in (5, 5, 6)
    ]
    assert said[0] == said[1] != said[2]


def test_a_stop_text_ends_the_answer_before_it(site: Site) -> None:
    whole = site.chat(max_tokens=12).json()["choices"][0]["message"]["content"]
    stop = whole[2:4]
    answer = site.chat(max_tokens=12, stop=stop).json()["choices"][0]
    assert answer["finish_reason"] == "stop" and stop not in answer["message"]["content"]


def test_a_whole_conversation_is_read(site: Site) -> None:
    turns = [
        Turn(Role.SYSTEM, "Be short."),
        Turn(Role.USER, "Hello"),
        Turn(Role.ASSISTANT, "Hi"),
        Turn(Role.USER, "And?"),
    ]
    tiny = guarded()
    with Engine(tiny.model, tiny.processor) as engine:
        alone = engine.answer([Prompt(tuple(turns))], GenerationOptions(max_new_tokens=4))[0]
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "refusal": None, "annotations": []},
        {"role": "user", "content": "And?"},
    ]
    answer = site.chat(messages=messages, max_tokens=4).json()
    assert answer["choices"][0]["message"]["content"] == alone.text


def test_special_tokens_typed_into_a_text_stay_text(site: Site) -> None:
    plain, typed = (
        site.chat(messages=[{"role": "user", "content": text}]).json() for text in ("a ximagex b", "a <image> b")
    )
    assert typed["image_safety"] == []
    assert typed["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]  # a byte is a token of this model


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(stream: bool) -> None:
    with endless_site() as site:
        body = json.dumps({"model": NAME, "messages": shown(SAFE), "stream": stream}).encode()
        host, port = site.url.removeprefix("http://").split(":")
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: site.backend.is_answering)
        wait_until(lambda: site.backend.is_left)
        wait_until(lambda: site.count("num_requests_running") == 0)
        wait_until(lambda: site.count("request_cancelled_total") == 1)


def test_requests_that_come_together_are_answered_together(site: Site) -> None:
    replies: list[Any] = []
    threads = [threading.Thread(target=lambda: replies.append(site.chat().json())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({json.dumps(each["choices"]) for each in replies}) == 1 and len(replies) == 8


def test_a_guard_that_cannot_judge_is_an_error_and_no_answer() -> None:
    class Silent(EngineBackend):
        async def answer(self, ask: Any, model: str) -> Any:
            from holisafe.serve import Delta, Finished, Judged

            yield Judged(None)
            yield Delta({"content": "an answer"})
            yield Finished("stop", 1, 1)

    tiny = guarded()
    with Engine(tiny.model, tiny.processor) as engine, running(Silent(engine, NAME)) as site:
        reply = site.chat(moderation=BLOCK)
        assert reply.status_code == 503 and reply.json()["error"]["code"] == "guard_unavailable"
        assert "retry-after" in reply.headers
        observed = site.chat(moderation=SCORE).json()
        assert observed["moderation"]["input"]["type"] == "error"
        assert site.count("unjudged_total") == 2 and site.count("fail_open_total") == 0
    with (
        Engine(tiny.model, tiny.processor) as engine,
        running(Silent(engine, NAME), Settings(fail_open=True)) as site,
    ):
        assert site.chat(moderation=BLOCK).json()["choices"][0]["message"]["content"] == "an answer"
        assert site.count("fail_open_total") == 1


def _parts(reply: httpx.Response) -> list[dict[str, Any]]:
    """The whole answer, or the objects of its stream."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return [reply.json()]
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_the_openapi_document_describes_every_body(site: Site) -> None:
    document = httpx.get(f"{site.url}/openapi.json", trust_env=False, timeout=60).json()
    forms = document["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert {"ChatBody", "ResponsesBody", "ModerationsBody", "GuardrailBody"} <= named <= set(forms)
