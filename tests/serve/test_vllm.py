"""The plug-in for vLLM's API server, in an application with vLLM's routes.

tests/serve/test_real_vllm.py asks a real one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from holisafe.errors import RunError, UnknownNameError
from holisafe.serve import ImageGuard, Metrics, Settings
from holisafe.serve.vllm import GUARD, GuardedEndpoints, mount, read_settings
from serve.site import BLOCK, PICTURES, SAFE, SCORE, UNSAFE, Site, guarded, listening, shown, wait_until


def test_the_routes_need_nothing_that_the_fastapi_of_vllm_has_not() -> None:
    """It is older than that of the application; `make vllm` tries it for real."""
    program = (
        "import sys, fastapi\n"
        "sys.modules['fastapi.telemetry'] = None\n"  # 0.136, which vLLM 0.32 comes with, has none
        "import holisafe.serve.routes, holisafe.serve.vllm, holisafe.serve.proxy_backend, holisafe.serve.in_process\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class Own:
    """A vLLM's routes, as far as the plug-in meets them."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.is_left = False
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self.chat)
        self.app.get("/v1/models")(self.models)
        self.app.post("/v1/completions")(self.other)
        self.app.post("/tokenize")(self.other)
        self.app.get("/version")(self.other)

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        assert request.app.state.engine == "running"
        if body.get("seed") == 7:
            raise RuntimeError("/srv/secret")
        if body.get("stream"):
            return StreamingResponse(self.chunks(body), media_type="text/event-stream")
        message = {"role": "assistant", "content": "Yes."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        return JSONResponse({"model": "served", "choices": [choice], "usage": usage})

    async def chunks(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        try:
            for word in ("Yes", ".") if body.get("seed") != 8 else ["on "] * 1_000_000:
                yield chunk({"content": word})
                await asyncio.sleep(0.005)
            yield chunk({}, "stop") + b"data: [DONE]\n\n"
        finally:
            self.is_left = True

    async def models(self) -> Any:
        return {"data": [{"id": "served", "max_model_len": 8}]}

    async def other(self) -> Any:
        return {"own": True}


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'model': 'served', 'choices': [choice]})}\n\n".encode()


@contextmanager
def inside(settings: Settings = PICTURES, opened: frozenset[str] = frozenset()) -> Iterator[tuple[Site, Own]]:
    own, tiny = Own(), guarded()
    before = {id(route) for route in own.app.routes}
    mount(own.app, ImageGuard(tiny.model, tiny.processor), settings, opened)
    added = [route for route in own.app.routes if id(route) not in before]
    taken = {route.path for route in added}
    kept = [route for route in own.app.routes if id(route) in before and route.path not in taken]
    own.app.router.routes[:] = [*added, *kept]  # as vLLM does with a plug-in's routes
    own.app.state.engine = "running"
    with listening(own.app) as url:
        yield Site(url, None, Metrics()), own


def ask(site: Site, **fields: Any) -> dict[str, Any]:
    answer: dict[str, Any] = site.chat(**{"model": "served", **fields}).json()
    return answer


def test_vllm_answers_and_the_guard_judges() -> None:
    with inside() as (site, own):
        answer = ask(site, moderation=SCORE)
        assert answer["choices"][0]["message"]["content"] == "Yes." and answer["usage"]["completion_tokens"] == 2
        assert answer["moderation"]["input"]["results"][0]["flagged"] is False
        assert own.asked[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
        assert site.post("/v1/moderations", {"input": shown(UNSAFE)[0]["content"][:1]}).json()["results"][0]["flagged"]
        assert b"holisafe:verdicts_total" in site.get("/holisafe/metrics").content


def test_a_stream_of_vllm_is_passed_on() -> None:
    with inside() as (site, _), site.client() as client:
        chunks = list(client.chat.completions.create(model="served", messages=shown(SAFE), stream=True))
        assert "".join(each.choices[0].delta.content or "" for each in chunks) == "Yes."


def test_block_never_reaches_vllm() -> None:
    with inside() as (site, own):
        assert (
            ask(site, messages=shown(SAFE, UNSAFE), moderation=BLOCK)["choices"][0]["finish_reason"] == "content_filter"
        )
        assert own.asked == []


def test_what_would_answer_without_the_guard_is_closed() -> None:
    with inside() as (site, _):
        refused = site.post("/v1/completions", {"prompt": "Hi"})
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "not_guarded"
        assert site.post("/tokenize", {}).json() == site.get("/version").json() == {"own": True}
        assert site.get("/v1/models").json()["data"][0]["max_model_len"] == 8
    with inside(opened=frozenset({"/v1/completions"})) as (site, _):
        assert site.post("/v1/completions", {}).json() == {"own": True}


def test_a_client_that_leaves_ends_the_answer_of_vllm() -> None:
    with inside() as (site, own), site.client() as client:
        stream = client.chat.completions.create(model="served", messages=shown(SAFE), stream=True, seed=8)
        next(stream), next(stream)
        stream.close()
        wait_until(lambda: own.is_left)


def test_a_failure_of_vllm_is_told_in_our_words() -> None:
    with inside() as (site, _):
        reply = site.chat(model="served", seed=7)
        assert reply.status_code == 502 and "secret" not in reply.text


def test_a_setting_that_is_none_is_refused_before_anything_is_served() -> None:
    with pytest.raises(RunError, match="HOLISAFE_GUARD"):
        read_settings({})
    with pytest.raises(UnknownNameError, match="blokc"):
        read_settings({GUARD: "pocket-safe", "HOLISAFE_POLICY": "blokc"})
    with pytest.raises(RunError, match="HOLISAFE_FAIL_OPEN"):
        read_settings({GUARD: "pocket-safe", "HOLISAFE_FAIL_OPEN": "yes"})
    tiny = guarded()
    with pytest.raises(RunError, match="/v1/chat/completions"):
        mount(FastAPI(), ImageGuard(tiny.model, tiny.processor), PICTURES)
    assert GuardedEndpoints.name == "holisafe"
