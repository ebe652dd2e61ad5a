"""A guard in front of another server, which is real, on loopback, and behaves as badly as it can."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from endpoint import Behaviour, Endpoint, Exchange, completion, failure, serve
from holisafe.errors import GuardError, RunError
from holisafe.serve import ImageGuard, ProxyBackend, Settings, Upstream, router
from serve.site import BLOCK, PICTURES, SAFE, SCORE, UNSAFE, Site, guarded, png, running, shown, wait_until


def guard(**options: Any) -> ImageGuard:
    tiny = guarded()
    return ImageGuard(tiny.model, tiny.processor, **options)


@contextmanager
def proxied(
    behaviour: Behaviour | None = None, settings: Settings = PICTURES, images: ImageGuard | None = None, **upstream: Any
) -> Iterator[tuple[Site, Endpoint]]:
    with serve({}, behaviour) as behind:
        backend = ProxyBackend(Upstream(behind.url, **upstream), images or guard())
        with running(backend, settings) as site:
            yield site, behind


def ask(site: Site, **fields: Any) -> httpx.Response:
    return site.chat(**{"model": "served", **fields})


def sse(*objects: Any, done: bool = True) -> bytes:
    lines = [f"data: {each if isinstance(each, str) else json.dumps(each)}\n\n" for each in objects]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def piece(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"id": "x", "model": "served", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}


def streamed(exchange: Exchange) -> None:
    exchange.send(
        sse(piece("Yes"), piece(" \u2028no"), piece(finish="stop"), {"choices": [], "usage": USAGE}),
        Content_Type="text/event-stream; charset=utf-8",
    )


def test_the_answer_is_the_one_behind_with_the_verdict_from_here() -> None:
    with proxied() as (site, _):
        answer = site.client().chat.completions.create(model="served", messages=shown(SAFE), moderation=SCORE)
        assert answer.choices[0].message.content == "Yes." and answer.usage.completion_tokens == 3
        assert answer.moderation.input.results[0].flagged is False


def test_the_server_behind_gets_the_bytes_that_were_judged() -> None:
    with proxied() as (site, behind):
        url = "data:text/plain;charset=x;base64," + base64.b64encode(SAFE).decode()
        url = url.replace("text/plain", "image/gif")  # what a client says of its bytes is not believed
        part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        ask(site, messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, part]}])
        content = behind.requests[0]["messages"][0]["content"]
        assert content[0] == {"type": "text", "text": "a"}
        assert content[1]["image_url"] == {
            "url": f"data:image/png;base64,{base64.b64encode(SAFE).decode()}",
            "detail": "low",
        }


@pytest.mark.parametrize("stream", [False, True])
def test_block_never_reaches_the_server_behind(stream: bool) -> None:
    with proxied() as (site, behind):
        for _ in range(3):
            reply = ask(site, messages=shown(SAFE, UNSAFE), moderation=BLOCK, stream=stream)
            assert "content_filter" in reply.text and "Yes." not in reply.text
        assert behind.requests == []


@pytest.mark.parametrize("stream", [False, True])
def test_where_no_flag_holds_an_answer_back_the_server_behind_answers_while_the_guard_judges(stream: bool) -> None:
    asked, seen = threading.Event(), []

    def behaviour(exchange: Exchange) -> None:
        asked.set()
        streamed(exchange) if stream else exchange.send(completion())

    images = guard()
    classify = images._classify

    def slow(pictures: Any) -> Any:
        seen.append(asked.wait(30))
        return classify(pictures)

    images._classify = slow
    with proxied(behaviour, images=images) as (site, _):
        reply = ask(site, messages=shown(UNSAFE), moderation=SCORE, stream=stream)
        assert reply.status_code == 200 and "Yes" in reply.text and '"flagged":true' in reply.text.replace(" ", "")
    assert seen == [True]


def test_an_image_that_cannot_be_decoded_never_reaches_the_server_behind() -> None:
    with proxied() as (site, behind):
        for stream in (False, True):
            reply = ask(site, messages=shown(SAFE, png(7)[:-60]), moderation=SCORE, stream=stream)
            assert reply.status_code == 400
        assert behind.requests == []


def test_a_stream_is_passed_on_piece_by_piece() -> None:
    with proxied(streamed) as (site, behind):
        chunks = list(
            site.client().chat.completions.create(
                model="served",
                messages=shown(SAFE),
                stream=True,
                stream_options={"include_usage": True},
                moderation=SCORE,
            )
        )
        assert chunks[0].moderation.input.results[0].flagged is False and chunks[0].choices == []
        assert [c.choices[0].delta.content for c in chunks[2:-2]] == ["Yes", " \u2028no"]
        assert chunks[-1].usage.total_tokens == 11
        assert behind.requests[0]["stream_options"] == {"include_usage": True}


def test_tools_and_what_else_is_openais_own_reach_the_server_behind() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_call_id": "c"},
    ]
    with proxied(lambda e: e.send(completion(None, "tool_calls", tool_calls=[call]))) as (site, behind):
        answer = ask(site, messages=messages, tools=[tool], frequency_penalty=1, max_completion_tokens=5).json()
        assert answer["choices"][0]["message"]["tool_calls"] == [call]
        assert answer["choices"][0]["finish_reason"] == "tool_calls"
        sent = behind.requests[0]
        assert sent["tools"] == [tool] and sent["messages"][1]["tool_calls"] == [call]
        assert sent["messages"][2] == {"role": "tool", "content": "1", "tool_call_id": "c"}
        assert sent["max_completion_tokens"] == 5 and "max_tokens" not in sent


@pytest.mark.parametrize(
    "name", ["chat_template", "chat_template_kwargs", "lora", "mm_processor_kwargs", "guided_json"]
)
def test_what_would_change_the_model_behind_is_refused(name: str) -> None:
    with proxied() as (site, behind):
        reply = ask(site, **{name: "x"})
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "unknown_parameter"
        assert behind.requests == []


def test_another_model_than_those_listed_is_not_served() -> None:
    with proxied() as (site, behind):
        assert [each.id for each in site.client().models.list()] == ["served"]
        with pytest.raises(openai.NotFoundError):
            site.client().chat.completions.create(model="other", messages=shown(SAFE))
        assert behind.requests == []


def test_a_request_without_images_is_passed_on_unjudged() -> None:
    with proxied() as (site, _):
        answer = ask(site, messages=[{"role": "user", "content": "Hi"}], moderation=BLOCK).json()
        assert answer["choices"][0]["message"]["content"] == "Yes." and answer["image_safety"] == []
        assert site.post("/v1/moderations", {"input": "Hi"}).status_code == 400


SECRET = "/srv/models/secret at 10.0.0.7: cannot identify image file <_io.BytesIO object at 0x7f>"


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (lambda e: e.send(failure(SECRET), 500), 502, "upstream_error"),
        (lambda e: e.send(failure(SECRET), 401), 502, "upstream_error"),
        (lambda e: e.send(failure(SECRET), 400), 400, "upstream_refused"),
        (lambda e: e.send(failure(SECRET), 429, retry_after="7"), 429, "upstream_rate_limited"),
        (lambda e: e.send(failure(SECRET)), 502, "upstream_error"),
        (lambda e: e.send("", 302, Location="http://127.0.0.1/"), 502, "upstream_error"),
        (lambda e: e.send("not json"), 502, "upstream_error"),
        (lambda e: e.send([]), 502, "upstream_error"),
        (lambda e: e.send(json.dumps(completion("\ud800"))), 502, "upstream_error"),
        (lambda e: e.send("[" * 100_000), 502, "upstream_error"),
        (lambda e: e.send({"choices": []}), 502, "upstream_error"),
        (lambda e: e.send('{"choices": [{"message": {}, "logprobs": NaN}]}'), 502, "upstream_error"),
        (lambda e: e.send('{"choices": [{"message": {}, "logprobs": -1e999}]}'), 502, "upstream_error"),
        (lambda e: e.send({"choices": [{"message": "text"}]}), 502, "upstream_error"),
        (lambda e: e.reset(), 502, "upstream_unreachable"),
        (lambda e: e.hang(), 504, "upstream_timeout"),
    ],
)
def test_what_the_server_behind_does_wrong_is_told_in_our_words(behaviour: Behaviour, status: int, code: str) -> None:
    with proxied(behaviour, seconds=1.0) as (site, _):
        reply = ask(site)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
        assert not any(word in reply.text for word in ("secret", "10.0.0.7", "BytesIO"))
        if status == 429:
            assert reply.headers["retry-after"] == "7"


def event_stream(*objects: Any, done: bool = True) -> Behaviour:
    return lambda e: e.send(sse(*objects, done=done), Content_Type="text/event-stream")


def slow(exchange: Exchange) -> None:
    exchange.send(sse(piece("Yes"), done=False), Content_Type="text/event-stream", Content_Length="100000")
    exchange.hang()


@pytest.mark.parametrize(
    "behaviour",
    [
        event_stream(piece("Yes"), failure(SECRET)),
        event_stream(piece("Yes"), "{broken"),
        event_stream(piece("Yes"), "[]"),
        event_stream(piece("Yes"), '{"choices": [{"delta": {"content": "\\ud800"}}]}'),
        event_stream(piece("Yes"), {"choices": "text"}),
        event_stream(piece("Yes"), '{"choices": [{"delta": {}, "logprobs": -1e999}]}'),
        event_stream(piece("Yes"), done=False),
        event_stream(piece("Yes")),
        slow,
    ],
)
def test_an_error_within_a_stream_ends_it_as_an_error(behaviour: Behaviour) -> None:
    with proxied(behaviour, seconds=1.0) as (site, _):
        stream = site.client().chat.completions.create(model="served", messages=shown(SAFE), stream=True)
        said = []
        with pytest.raises(openai.APIError) as told:
            for chunk in stream:
                said.append(chunk.choices[0].delta.content)
        assert "Yes" in said and "secret" not in str(told.value)
        failed = 504 if behaviour is slow else 502
        wait_until(lambda: site.count("request_failure_total", status=str(failed)) == 1)


def test_a_count_of_tokens_that_cannot_be_is_not_believed() -> None:
    usage = {"prompt_tokens": 10**400, "completion_tokens": True}
    with proxied(lambda e: e.send({**completion(), "usage": usage})) as (site, _):
        assert ask(site).json()["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def test_an_answer_that_is_no_stream_where_one_was_asked_for_is_an_error() -> None:
    with proxied() as (site, _):
        assert "upstream_error" in ask(site, stream=True).text


def test_a_server_behind_that_is_down_is_told_as_such() -> None:
    with serve() as behind:
        url = behind.url
    with running(ProxyBackend(Upstream(url), guard(), model="served"), PICTURES) as site:
        reply = ask(site)
        assert reply.status_code == 502 and reply.json()["error"]["code"] == "upstream_unreachable"
        assert site.count("upstream_errors_total", kind="unreachable") == 1


def test_a_server_behind_that_answers_as_another_model_is_counted() -> None:
    with proxied(lambda e: e.send({**completion(), "model": "other"})) as (site, _):
        assert ask(site).json()["model"] == "served"
        assert site.count("upstream_other_model_total") == 1


def test_a_client_that_leaves_ends_the_request_behind() -> None:
    left = threading.Event()

    def endless(exchange: Exchange) -> None:
        exchange.send(b"", Content_Type="text/event-stream", Content_Length="100000000")
        try:
            while not exchange.stopped.is_set():
                exchange.handler.wfile.write(sse(piece("Yes"), done=False))
                exchange.handler.wfile.flush()
                exchange.stopped.wait(0.02)
        except OSError:
            left.set()

    with proxied(endless) as (site, _):
        body = {"model": "served", "messages": shown(SAFE), "stream": True}
        with httpx.stream("POST", f"{site.url}/v1/chat/completions", json=body, trust_env=False, timeout=60) as reply:
            next(line for line in reply.iter_lines() if "Yes" in line)
        wait_until(left.is_set)


def test_an_image_that_was_judged_is_known_again() -> None:
    with proxied() as (site, _):
        said = [ask(site, messages=shown(SAFE, SAFE)).json()["image_safety"] for _ in range(3)]
        assert said[0] == said[1] == said[2] and said[0][0] == said[0][1]
        assert site.count("mm_cache_queries_total") == 6 and site.count("mm_cache_hits_total") == 4


def test_verdicts_are_those_of_single_images_however_many_come_together() -> None:
    pictures = [png(seed) for seed in range(10, 16)]
    with proxied(images=guard(kept=1)) as (site, _):
        together = ask(site, messages=shown(*pictures)).json()["image_safety"]
        alone = [ask(site, messages=shown(each)).json()["image_safety"][0] for each in pictures]
        assert [each["unsafe"] for each in together] == pytest.approx([each["unsafe"] for each in alone], abs=1e-5)


def broken_guard() -> ImageGuard:
    images = guard()

    def fail(_: Any) -> Any:
        raise GuardError("no verdict")

    images._classify = fail
    return images


def test_block_without_a_verdict_is_closed_unless_opened() -> None:
    with proxied(images=broken_guard()) as (site, behind):
        reply = ask(site, moderation=BLOCK)
        assert reply.status_code == 503 and reply.json()["error"]["code"] == "guard_unavailable"
        assert behind.requests == []
        assert ask(site, moderation=SCORE).json()["moderation"]["input"]["code"] == "guard_unavailable"
    with proxied(images=broken_guard(), settings=Settings(fail_open=True)) as (site, behind):
        assert ask(site, moderation=BLOCK).status_code == 200 and len(behind.requests) == 1
        assert site.count("fail_open_total") == 1


def test_the_key_for_the_server_behind_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def note(exchange: Exchange) -> None:
        seen.append(exchange.handler.headers.get("Authorization"))
        exchange.send(completion())

    with proxied(note, api_key="behind") as (site, _):
        site.client("mine").chat.completions.create(model="served", messages=shown(SAFE))
    assert seen == ["Bearer behind"]


def test_a_policy_on_answers_that_are_not_judged_is_refused() -> None:
    backend = ProxyBackend(Upstream("http://127.0.0.1:1/v1"), guard())
    with pytest.raises(RunError, match="output_policy"):
        router(backend, Settings(output_policy="block"))  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "file:///x", "ftp://host/v1"])
def test_an_address_that_is_none_of_http_is_refused(url: str) -> None:
    with pytest.raises(RunError, match="--upstream"):
        Upstream(url)
