"""Hundreds of requests that no client would send: a clear error, never a 5xx, never a stuck worker."""

from __future__ import annotations

import base64
import copy
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from holisafe.serve import Limits, Settings
from serve.site import NAME, SAFE, Site, data_url, engine_site, shown, wait_until

ROUTES = {
    "/v1/chat/completions": {"model": NAME, "messages": shown(SAFE), "max_tokens": 1},
    "/v1/responses": {"model": NAME, "input": "Hi", "max_output_tokens": 1},
    "/v1/moderations": {"input": [{"type": "text", "text": "Hi"}]},
    "/beta/litellm_basic_guardrail_api": {"input_type": "request", "texts": ["Hi"], "images": [data_url(SAFE)]},
}
"""What each route takes; tests break it."""


@pytest.fixture(scope="module")
def small() -> Iterator[Site]:
    """A server with small limits, that waits a second for bodies."""
    limits = Limits(body=200_000, image_bytes=50_000, new_tokens=4, default_new_tokens=1, body_seconds=1, inputs=4)
    with engine_site(Settings(limits=limits)) as site:
        yield site


@pytest.fixture
def works(small: Site) -> Iterator[None]:
    """After what a test did, the next request is answered, and none is left running."""
    yield
    assert small.chat().status_code == 200
    wait_until(lambda: small.count("num_requests_running") == 0)


def check(reply: httpx.Response) -> None:
    """An answer, or an error of the client's with words of ours."""
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        error = reply.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["message"]
        told = json.dumps(error)
        assert not any(word in told for word in ("Traceback", "PIL", "/home", "/usr", "site-packages", "0x7f", "torch"))


HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1e308,
    "",
    "x",
    "\x00\x1b[31m\r\nSet-Cookie: a=b",
    "<image>" * 50,
    "\u202e\ufeff\U0010ffff",
    "../../etc/passwd",
    "{{7*7}}{% for x in y %}",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"$ref": "#"},
    {"__proto__": {"a": 1}},
    ["x"] * 300,
    {"type": "text", "text": "x"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}],
    [{"type": "image_url", "image_url": "x"}],
    [{"type": "input_image", "image_url": "x", "file_id": "y"}],
    [{"role": "user", "content": None}],
    [{"role": "system", "content": "x"}],
    [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}],
)
FIELDS = (
    *("model", "messages", "input", "max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p"),
    *(
        "top_k",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "n",
        "tools",
        "tool_choice",
        "response_format",
        "logit_bias",
    ),
    *("moderation", "instructions", "metadata", "user", "input_type", "texts", "images", "previous_response_id"),
    *("chat_template", "lora", "adapter", "guided_regex", "extra_body", "x\r\ny", "é"),
)


def broken(seed: int) -> tuple[str, Any]:
    """A route, and its body with one to three fields that hold something else."""
    draw = random.Random(seed)
    route = draw.choice(sorted(ROUTES))
    body = json.loads(json.dumps(ROUTES[route]))
    for _ in range(draw.randint(1, 3)):
        place = body
        while isinstance(place, (dict, list)) and place and draw.random() < 0.5:
            key = draw.choice(sorted(place)) if isinstance(place, dict) else draw.randrange(len(place))
            if not isinstance(place[key], (dict, list)):
                break
            place = place[key]
        if isinstance(place, list):
            place.insert(0, copy.deepcopy(draw.choice(HOSTILE)))
        else:
            place[draw.choice((*FIELDS, *place))] = copy.deepcopy(draw.choice(HOSTILE))
    return route, body


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_fields_that_hold_something_else(small: Site, works: None, start: int) -> None:
    with httpx.Client(base_url=small.url, trust_env=False, timeout=60) as client:
        for seed in range(start, start + 50):
            route, body = broken(seed)
            check(client.post(route, content=json.dumps(body), headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}" * 2,
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"messages": NaN}',
        b'{"temperature": Infinity, "messages": [{"role": "user", "content": "x"}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "\\u0000"}]}',
        b'{"a":' * 20_000,
        b"[" * 100_000,
        b'{"messages": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"max_tokens": ' + b"9" * 10_000 + b"}",
        b'{"model": "a", "model": "b"}',
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
        b"\x1f\x8b\x08\x00" + bytes(50),
    ],
)
@pytest.mark.parametrize("route", ROUTES)
def test_bodies_that_are_no_request(small: Site, works: None, route: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    check(httpx.post(small.url + route, content=body, headers=headers, trust_env=False, timeout=60))


@pytest.mark.parametrize(
    ("route", "field", "value", "told"),
    [
        (
            "/v1/chat/completions",
            "messages",
            [{"role": "user", "content": [{"type": "text"}]}],
            "0.content.0.text: Field",
        ),
        ("/v1/chat/completions", "stop", ["x"] * 17, "stop: List should have at most 16"),
        ("/v1/responses", "input", shown(SAFE), "input.0.content.0: Input tag 'image_url'"),
        (
            "/v1/moderations",
            "input",
            [{"type": "image_url", "image_url": "x"}],
            "input.0.image_url: Input should be an",
        ),
        ("/v1/moderations", "model", "omni", "its name is 'holisafe'"),
    ],
)
def test_the_error_names_the_field_that_is_wrong(small: Site, route: str, field: str, value: Any, told: str) -> None:
    reply = small.post(route, {**ROUTES[route], field: value})
    assert reply.status_code in (400, 404) and told in reply.json()["error"]["message"], reply.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Authorization": "Bearer " + "x" * 5000},
        {"Content-Type": "application/json", "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=x"},
        {"Content-Type": "application/json", "Expect": "100-continue"},
    ],
)
def test_headers_that_are_not_meant_for_this(small: Site, works: None, headers: dict[str, str]) -> None:
    body = json.dumps(ROUTES["/v1/chat/completions"]).encode()
    check(httpx.post(f"{small.url}/v1/chat/completions", content=body, headers=headers, trust_env=False, timeout=60))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/nothing", "/v1/models/../../etc/passwd", "//", "/%00"])
def test_methods_and_paths_that_there_are_not(small: Site, works: None, method: str, path: str) -> None:
    reply = httpx.request(method, small.url + path, trust_env=False, timeout=60)
    assert 400 <= reply.status_code < 500


PNG = SAFE[:8]


@settings(
    max_examples=60, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(
    st.binary(max_size=300), st.sampled_from([b"", PNG, b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP"])
)
def test_images_of_any_bytes(small: Site, data: bytes, start: bytes) -> None:
    check(small.chat(messages=shown(start + data)))


@pytest.mark.parametrize("at", range(8, len(SAFE), len(SAFE) // 24))
def test_images_that_are_cut_or_have_a_wrong_byte(small: Site, works: None, at: int) -> None:
    check(small.chat(messages=shown(SAFE[:at])))
    check(small.chat(messages=shown(SAFE[:at] + bytes([SAFE[at] ^ 0x55]) + SAFE[at + 1 :])))


def test_an_image_that_is_also_a_page(small: Site, works: None) -> None:
    check(small.chat(messages=shown(SAFE + b"<script>alert(1)</script>")))
    check(small.chat(messages=shown(b"<html>" + SAFE)))


def test_a_text_of_a_million_words(small: Site, works: None) -> None:
    with engine_site() as site:
        reply = site.chat(messages=[{"role": "user", "content": "word " * 1_000_000}])
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "context_length_exceeded"
        reply = site.chat(messages=[{"role": "user", "content": "word " * 10_000}])
        assert reply.status_code == 400 and reply.json()["error"]["code"] == "context_length_exceeded"


def raw(site: Site, sent: bytes, pause: float = 5.0) -> bytes:
    """What the server answers to these bytes."""
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=pause) as connection:
        connection.sendall(sent)
        try:
            return connection.recv(65536)
        except TimeoutError:
            return b""


def test_a_body_that_comes_too_slowly_is_given_up(small: Site, works: None) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    assert b" 408 " in raw(small, head + b'Content-Length: 100\r\n\r\n{"a')


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil\r\n\r\n",
    ],
)
def test_bytes_that_are_no_http(small: Site, works: None, sent: bytes) -> None:
    answer = raw(small, sent)
    assert not answer.startswith(b"HTTP/1.1 5")


def test_a_body_that_breaks_off_leaves_nothing_running(small: Site, works: None) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b'Content-Length: 5000\r\n\r\n{"messages": '
            )


def test_base64_that_is_almost_right(small: Site, works: None) -> None:
    encoded = base64.b64encode(SAFE).decode()
    for wrong in (
        encoded[:-1],
        encoded + "=",
        encoded.replace("A", "-", 1),
        encoded[:50] + "\n" + encoded[50:],
        "=" + encoded,
    ):
        parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{wrong}"}}]
        check(small.chat(messages=[{"role": "user", "content": parts}]))
