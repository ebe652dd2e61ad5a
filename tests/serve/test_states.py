"""Verdicts on requests from the hidden states of an engine behind: scripted ones, in the forms of vLLM and of SGLang.

tests/serve/test_real_vllm.py has a real vLLM. SGLang needs a GPU, so it is met by its documented form alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from endpoint import Endpoint, Exchange, completion, serve
from holisafe.errors import RunError
from holisafe.guard import prompt_state
from holisafe.models import Engine, GenerationOptions, Prompt, Request
from holisafe.models.prompts import messages, template_options
from holisafe.records import ImageRef
from holisafe.serve import HiddenStates, ImageGuard, PoolingStates, ProxyBackend, RequestGuard, Settings, Upstream
from holisafe.serve.intake import _decode
from holisafe.serve.settings import Limits
from serve.site import BLOCK, SAFE, Site, guarded, running, shown

ENGINES = {"vllm": PoolingStates, "sglang": HiddenStates}
REQUESTS = Settings(decide_by="request")  # type: ignore[arg-type]


def own_state(body: dict[str, Any]) -> list[float]:
    """What an engine that serves the guard's own model gives for a request."""
    tiny = guarded()
    content = body["messages"][-1]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = next(part["text"] for part in parts if part["type"] == "text")
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    images = [ImageRef("x", data=_decode(url, "x", Limits())) for url in urls]
    prompt = messages(Prompt.ask(text, *images))
    inputs = tiny.processor.apply_chat_template(prompt, return_dict=True, **template_options(tiny.processor))
    state: list[float] = prompt_state(tiny.model, inputs).tolist()
    return state


def engine(change: Callable[[list[float]], Any] = lambda state: state) -> Callable[[Exchange], None]:
    """An engine that answers, and gives states as `change` leaves them."""

    def behave(exchange: Exchange) -> None:
        if exchange.path == "/v1/embeddings":
            assert exchange.body["add_generation_prompt"] is True and exchange.body["use_activation"] is False
            exchange.send({"data": [{"embedding": change(own_state(exchange.body))}]})
        elif exchange.body.get("return_hidden_states") == "last":
            assert exchange.body["max_tokens"] == 1
            reply = completion("A")
            reply["choices"][0]["hidden_states"] = change(own_state(exchange.body))
            exchange.send(json.dumps(reply))
        else:
            exchange.send(completion("Yes."))

    return behave


@contextmanager
def site(kind: str, behaviour: Callable[[Exchange], None]) -> Iterator[tuple[Site, Endpoint]]:
    tiny = guarded()
    with serve({}, behaviour) as behind:
        requests = RequestGuard(tiny.model, tiny.processor, ENGINES[kind](Upstream(behind.url)))
        images = ImageGuard(tiny.model, tiny.processor)
        with running(ProxyBackend(Upstream(behind.url), images, requests=requests), REQUESTS) as served:
            yield served, behind


async def check(kind: str, url: str) -> None:
    tiny = guarded()
    guard = RequestGuard(tiny.model, tiny.processor, ENGINES[kind](Upstream(url)))
    try:
        await guard.check()
    finally:
        await guard.close()


@pytest.mark.parametrize("kind", ENGINES)
def test_the_request_verdict_is_that_of_the_guards_own_prefill(kind: str) -> None:
    tiny = guarded()
    with Engine(tiny.model, tiny.processor) as here:
        asked = Request(Prompt.ask("What is it?", ImageRef("x", data=SAFE)), GenerationOptions(max_new_tokens=1))
        own = here.submit(asked).result().verdict.request
    with site(kind, engine()) as (served, _):
        answer = served.chat(model="served").json()
        assert answer["choices"][0]["message"]["content"] == "Yes."
        assert answer["request_safety"]["unsafe"] == pytest.approx(own.unsafe, abs=1e-4)
        alone = served.chat(model="served", messages=[{"role": "user", "content": "Hi"}]).json()
        assert alone["request_safety"] is not None
        assert served.post("/v1/moderations", {"input": "Hi"}).status_code == 200


@pytest.mark.parametrize("kind", ENGINES)
def test_a_request_that_the_engine_gives_no_state_of_is_not_answered_in_block_mode(kind: str) -> None:
    for broken in (lambda _: [], lambda _: ["NaN"], lambda state: state[1:], lambda _: None):
        with site(kind, engine(broken)) as (served, behind):
            reply = served.chat(model="served", moderation=BLOCK)
            assert reply.status_code == 503 and reply.json()["error"]["code"] == "guard_unavailable"
            assert not any("seed" in body or "return_hidden_states" not in body for body in chats(behind))


def chats(behind: Endpoint) -> list[dict[str, Any]]:
    return [body for body in behind.requests if "max_tokens" in body]


@pytest.mark.parametrize("kind", ENGINES)
def test_an_engine_whose_states_are_not_the_guards_is_refused_at_the_start(kind: str) -> None:
    with serve({}, engine()) as behind:
        asyncio.run(check(kind, behind.url))
    for change, why in (
        (lambda state: [each / sum(x * x for x in state) ** 0.5 for each in state], "normalises"),
        (lambda state: [each * 1.2 for each in state], "another model or template"),
        (lambda state: state[1:], "another model"),
        (lambda _: None, "gives none"),
    ):
        with serve({}, engine(change)) as behind, pytest.raises(RunError, match=why):
            asyncio.run(check(kind, behind.url))
    with pytest.raises(RunError, match="gives none"):
        asyncio.run(check(kind, behind.url))


def test_images_of_a_message_stand_before_its_text() -> None:
    with site("vllm", engine()) as (served, behind):
        image, text = shown(SAFE)[0]["content"]
        served.chat(model="served", messages=[{"role": "user", "content": [text, image]}])
        assert len(behind.requests) == 2  # in any order: no flag would hold the answer back
        for body in behind.requests:
            kinds = [part["type"] for part in body["messages"][0]["content"]]
            assert kinds == (["image_url", "text"] if "add_generation_prompt" in body else ["text", "image_url"])
