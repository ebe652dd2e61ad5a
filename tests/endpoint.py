"""A chat-completions server on 127.0.0.1 whose behaviour is scripted: real HTTP, OpenAI's format, images included.

A request is answered by the behaviour that its last user text names (`[name]`), else by the default one.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Behaviour = Callable[["Exchange"], None]


@dataclass
class Exchange:
    """One request and the connection to answer it on.

    Attributes:
        body: The request, parsed.
        attempt: How often a request of this text came, from 1.
        path: What was asked for, such as "/v1/chat/completions".
    """

    body: Body
    attempt: int
    path: str
    handler: BaseHTTPRequestHandler
    stopped: threading.Event

    def send(self, body: Body | list[Any] | str | bytes, status: int = 200, **headers: str) -> None:
        """Send a whole reply."""
        data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.handler.send_response(status)
        given = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in {**given, **{key.replace("_", "-"): value for key, value in headers.items()}}.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(data)

    def hang(self) -> None:
        """Send nothing until the client goes or the server stops."""
        self.stopped.wait(30)

    def reset(self) -> None:
        """End the connection by a TCP reset."""
        self.handler.close_connection = True  # else it stays open for the next request, and the client hangs
        self.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.handler.connection.close()


def completion(content: Any = "Yes.", finish: Any = "stop", **message: Any) -> Body:
    """A chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "served",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    }


def failure(message: str, **fields: Any) -> Body:
    """An error object."""
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None, **fields}}


@dataclass
class Endpoint:
    """A running server.

    Attributes:
        behaviours: By the name that a request's text holds in brackets.
        requests: Every request's body, in order of arrival.
    """

    behaviours: dict[str, Behaviour]
    default: Behaviour
    requests: list[Body] = field(default_factory=list)
    url: str = ""
    _attempts: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, handler: BaseHTTPRequestHandler, stopped: threading.Event) -> None:
        """Answer one request."""
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        text = _text(body)
        with self._lock:
            self.requests.append(body)
            self._attempts[text] = self._attempts.get(text, 0) + 1
            attempt = self._attempts[text]
        named = re.search(r"\[([\w-]+)\]", text)
        behaviour = self.behaviours.get(named[1], self.default) if named else self.default
        with contextlib.suppress(OSError):
            behaviour(Exchange(body, attempt, handler.path, handler, stopped))


def _text(body: Body) -> str:
    content = body["messages" if "messages" in body else "input"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


@contextlib.contextmanager
def serve(behaviours: dict[str, Behaviour] | None = None, default: Behaviour | None = None) -> Iterator[Endpoint]:
    """Serve until the block ends."""
    endpoint = Endpoint(behaviours or {}, default or (lambda exchange: exchange.send(completion())))
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            endpoint.answer(self, stopped)

        def do_GET(self) -> None:
            """The list of models."""
            Exchange({}, 1, self.path, self, stopped).send({"object": "list", "data": [{"id": "served"}]})

        def log_message(self, format: str, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    server = Server(("127.0.0.1", 0), Handler)
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def slowly(exchange: Exchange, body: Body, pause: float) -> None:
    """Send the headers of a reply and then less than they promise."""
    data = json.dumps(body).encode()
    exchange.handler.send_response(200)
    exchange.handler.send_header("Content-Length", str(len(data)))
    exchange.handler.end_headers()
    exchange.handler.wfile.write(data[:5])
    exchange.handler.wfile.flush()
    time.sleep(pause)
    exchange.hang()
