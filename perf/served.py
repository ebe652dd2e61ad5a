"""Servers to measure, each kind in a process of its own, so that what clients compute is not counted as theirs.

No program of its own; serving.py and soak.py measure with it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

NAME = "pocket-safe"
CHAT, MODERATIONS = "/v1/chat/completions", "/v1/moderations"
OWN = Path(__file__)


@dataclass(frozen=True)
class Process:
    """A process that serves.

    Attributes:
        urls: Address of each of its servers, by the server's name.
        handle: The process.
    """

    urls: dict[str, str]
    handle: psutil.Process

    def seconds(self) -> float:
        """Processor seconds so far, user and system."""
        found = self.handle.cpu_times()
        return float(found.user + found.system)

    def resident(self) -> int:
        """Bytes in memory that are its own: of files, such as weights, the system keeps what it has room for."""
        found = self.handle.memory_info()
        return int(found.rss - found.shared)


@contextmanager
def holisafe_servers(threads: int, names: tuple[str, ...]) -> Iterator[Process]:
    """The servers of these names (`guarded`, `no guard`, `one by one`, `proxy`), on loopback."""
    words = [sys.executable, str(OWN), str(threads), *names]
    with _started(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        urls = json.loads(child.stdout.readline())
        yield Process(urls, psutil.Process(child.pid))


TRANSFORMERS = "import holisafe.models.pocket._vision; from transformers.cli.transformers import main; main()"


@contextmanager
def transformers_server(threads: int, folder: Path) -> Iterator[Process]:
    """`transformers serve` with a checkpoint of Pocket, whose image tower it is told of."""
    words = [sys.executable, "-c", TRANSFORMERS, "serve", str(folder), "--device", "cpu", "--dtype", "float32"]
    environment = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    with command("transformers serve", [*words, "--log-level", "error"], environment) as process:
        yield process


@contextmanager
def command(name: str, words: list[str], environment: dict[str, str]) -> Iterator[Process]:
    """A server that a command starts, to which a port of loopback is added; yields once it is healthy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [*words, "--host", "127.0.0.1", "--port", str(port)]
    options = {"env": {**os.environ, **environment}, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with _started(words, **options) as child:
        url = f"http://127.0.0.1:{port}"
        while True:
            if child.poll() is not None:
                raise SystemExit("the server ended; try it by hand: " + " ".join(words))
            with suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                    break
            time.sleep(0.5)
        yield Process({name: url}, psutil.Process(child.pid))


@contextmanager
def _started(words: list[str], **options: Any) -> Iterator[Any]:
    child = subprocess.Popen(words, **options)
    try:
        yield child
    finally:
        if child.stdin:
            child.stdin.close()
        else:
            child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()


def data_url(seed: list[int], width: int = 192, height: int = 192) -> str:
    """A picture of noise as a data URL; `seed` tells pictures apart."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()


def picture(seed: list[int]) -> dict[str, Any]:
    """It as a part of a message."""
    return {"type": "image_url", "image_url": {"url": data_url(seed)}}


def question(seed: list[int], tokens: int, model: str = NAME, **more: Any) -> dict[str, Any]:
    """A chat about a picture of its own."""
    text = f"What is picture {'-'.join(map(str, seed))} good for?"
    messages = [{"role": "user", "content": [picture(seed), {"type": "text", "text": text}]}]
    return {"model": model, "messages": messages, "max_tokens": tokens, **more}


def _serve(threads: int, names: list[str]) -> None:
    """Serve until standard input is closed."""
    import torch

    from holisafe.serve import share_memory

    share_memory()
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        print(json.dumps(_servers(stack, names)), flush=True)
        sys.stdin.read()


def _servers(stack: ExitStack, names: list[str]) -> dict[str, str]:
    import holisafe
    from holisafe.guard import detach_guard
    from holisafe.models import Engine
    from holisafe.serve import EngineBackend, ImageGuard, ProxyBackend, Upstream

    def engine(loaded: Any, **more: Any) -> Engine:
        return Engine(loaded.model, loaded.processor, window=0.01, **more)

    class Unguarded(EngineBackend):
        """The same model without a guard."""

        judges_text = False

        def __init__(self, engine: Engine, name: str) -> None:
            self._engine = engine
            self._name = name

    urls = {}
    guarded = holisafe.load(NAME, guard="own")
    if "guarded" in names:
        urls["guarded"] = stack.enter_context(_served(EngineBackend(engine(guarded), NAME)))
    if "one by one" in names:
        urls["one by one"] = stack.enter_context(_served(EngineBackend(engine(guarded, batch_size=1), NAME)))
    if {"no guard", "proxy"} & set(names):
        plain = holisafe.load(NAME, guard="own")
        detach_guard(plain.model)
        urls["no guard"] = stack.enter_context(_served(Unguarded(engine(plain), NAME)))
    if "proxy" in names:
        guard = holisafe.load(NAME, guard="own")
        behind = Upstream(f"{urls['no guard']}/v1")
        front = ProxyBackend(behind, ImageGuard(guard.model, guard.processor), model=NAME)
        urls["proxy"] = stack.enter_context(_served(front))
    return urls


@contextmanager
def _served(backend: Any) -> Iterator[str]:
    from holisafe.serve import Settings, application, make_server

    server = make_server(application(backend, Settings()), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
