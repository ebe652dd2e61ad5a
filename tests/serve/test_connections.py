"""Clients that send or read as slowly as they can: their connections end, and others are answered meanwhile."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from holisafe.serve import Limits, Settings
from serve.site import SAFE, Site, endless_site, engine_site, shown, wait_until

LIMITS = Limits(connections=8, header_seconds=0.5, stall_seconds=0.5, body_seconds=1)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with engine_site(Settings(limits=LIMITS)) as running:
        yield running


def connected(site: Site, stack: ExitStack, buffer: int | None = None) -> socket.socket:
    host, port = site.url.removeprefix("http://").split(":")
    connection = stack.enter_context(socket.socket())
    if buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(20)
    connection.connect((host, int(port)))
    return connection


def drips(connection: socket.socket, sent: bytes, seconds: float = 10) -> float:
    """Send `sent` byte by byte until the server closes; how many seconds that took."""
    began = time.monotonic()
    connection.setblocking(False)
    for at in range(1000 * len(sent)):
        try:
            connection.send(sent[at % len(sent) :][:1])
            if connection.recv(65536) == b"":
                return time.monotonic() - began
        except BlockingIOError:
            pass
        except OSError:
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, "the connection was kept"
        time.sleep(0.02)
    raise AssertionError("the connection was kept")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /v1/models HTTP/1.1\r\n",  # kept alive, then slow
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n",  # a body that nobody reads
    ],
)
def test_a_head_that_does_not_end_is_given_up(site: Site, first: bytes) -> None:
    with ExitStack() as stack:
        connection = connected(site, stack)
        connection.sendall(first)
        drips(connection, b"X-A: b\r\n" * 100)
    wait_until(lambda: site.count("num_requests_running") == 0)


def test_a_connection_without_a_byte_is_closed(site: Site) -> None:
    before = site.count("connections_dropped_total", reason="slow_header")
    with ExitStack() as stack:
        assert connected(site, stack).recv(1) == b""
    assert site.count("connections_dropped_total", reason="slow_header") == before + 1


def test_of_many_slow_senders_the_oldest_make_room_for_a_request(site: Site) -> None:
    with ExitStack() as stack:
        slow = [connected(site, stack) for _ in range(30)]
        for each in slow:
            each.sendall(b"GET /health HTTP/1.1\r\n")
        assert site.chat().status_code == 200
        wait_until(lambda: site.count("connections_dropped_total", reason="full") >= 20)
    assert site.chat().status_code == 200


def test_a_client_that_is_answered_is_never_the_one_to_go(site: Site) -> None:
    wait_until(lambda: site.count("num_requests_running") == 0)  # the last test's request has ended
    with ExitStack() as stack:
        answered = connected(site, stack)
        body = json.dumps({"model": "tiny", "messages": shown(SAFE), "max_tokens": 30}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        answered.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: site.count("num_requests_running") >= 1)
        for _ in range(30):
            connected(site, stack)
        assert answered.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_its_answer_ends_it() -> None:
    with endless_site(Settings(limits=LIMITS)) as site, ExitStack() as stack:
        connection = connected(site, stack, buffer=2048)
        body = json.dumps({"model": "tiny", "messages": shown(SAFE), "stream": True}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        site.backend.words = "on " * 20_000
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: site.backend.is_left, 60)
        wait_until(lambda: site.count("num_requests_running") == 0)
        assert site.count("connections_dropped_total", reason="slow_reader") == 1
        assert httpx.get(f"{site.url}/health", trust_env=False, timeout=60).status_code == 200
