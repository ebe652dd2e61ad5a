"""Connections to the server behind that end as they are used again: the request is sent once more, and only once."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest

from holisafe.errors import RunError
from holisafe.serve import ApiError, Ask, ProxyBackend, Upstream
from holisafe.serve.backend import user_message
from serve.test_proxy import guard

ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes"}, "finish_reason": "stop"}]}
STREAM = b'data: {"choices": [{"delta": {"content": "Yes"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class Flaky:
    """Answers as many requests of each connection as `answers` says, then closes it as the next one arrives."""

    def __init__(self, answers: list[int]) -> None:
        self._answers = answers
        self.requests = 0
        self.tasks: list[asyncio.Task[None]] = []

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.append(asyncio.create_task(self._connection(reader, writer)))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # the client leaves
            await self._answer(reader, writer)
        writer.close()
        await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for left in range(self._answers.pop(0) if self._answers else 0, -1, -1):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            sent = await reader.readexactly(length)
            self.requests += 1
            if left:
                body = json.dumps(ANSWER).encode()
                kind = b"Content-Type: application/json\r\n"
                if b'"stream"' in sent:
                    body, kind = STREAM, b"Content-Type: text/event-stream\r\n"
                writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()


def asked(answers: list[int], times: int) -> tuple[list[Any], Flaky]:
    """What so many requests, one after the other, bring."""

    async def run() -> tuple[list[Any], Flaky]:
        behind = Flaky(answers)
        server = await asyncio.start_server(behind.connected, "127.0.0.1", 0)
        upstream = Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        found: list[Any] = []
        for _ in range(times):
            try:
                found.append(await upstream.complete(b"{}", "served"))
            except ApiError as error:
                found.append(error.code)
        await upstream.close()
        await asyncio.gather(*behind.tasks)
        server.close()
        return found, behind

    return asyncio.run(run())


def test_a_connection_that_ends_as_it_is_used_again_loses_no_request() -> None:
    found, behind = asked([1, 1], times=2)
    assert all(not isinstance(each, str) for each in found)
    assert behind.requests == 3  # the second was sent twice


@pytest.mark.parametrize("answers", [[], [0]])
def test_a_server_that_never_answers_is_asked_twice(answers: list[int]) -> None:
    found, behind = asked(answers, times=1)
    assert found == ["upstream_unreachable"] and behind.requests == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_cancelled_at_any_moment_gives_its_connection_back(stream: bool) -> None:
    async def run() -> Any:
        behind = Flaky([10**6] * 1000)
        server = await asyncio.start_server(behind.connected, "127.0.0.1", 0)
        upstream = Upstream(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", connections=1, seconds=5)
        proxy = ProxyBackend(upstream, guard(), model="served")
        ask = Ask((user_message(["Hi"]),), None, stream=stream)

        async def all_of_it() -> list[Any]:
            return [event async for event in proxy.answer(ask, "served")]

        for steps in range(100):  # of the event loop, some of which its closing takes
            task = asyncio.create_task(all_of_it())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        found = await all_of_it()
        await proxy.close()
        await asyncio.gather(*behind.tasks)
        server.close()
        return found[1].fields["content"]

    assert asyncio.run(run()) == "Yes"


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://127.0.0.1:99999/v1", "http://[::1", "http://h:x"])
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(RunError, match="expected an address such as"):
        Upstream(url)
