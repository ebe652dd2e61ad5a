"""A server on loopback with a tiny guarded model, and what its tests send it."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import torch
from fastapi import FastAPI
from PIL import Image

import tiny_models
from holisafe.guard import Calibration, GuardConfig, attach_guard, classify_images, guard_of, set_calibration
from holisafe.models import Engine
from holisafe.serve import (
    Ask,
    Backend,
    Compared,
    Delta,
    EngineBackend,
    KeyRing,
    Metrics,
    ReviewSample,
    Settings,
    application,
    make_server,
)
from holisafe.serve.backend import Event
from holisafe.serve.remote import RemoteImages

NAME = "tiny"
PAGE = Path(__file__).parents[2] / "docs/serving.md"


def png(seed: int, width: int = 40, height: int = 32) -> bytes:
    """A picture of noise; `seed` tells pictures apart."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def shown(*images: bytes, text: str = "What is it?") -> list[dict[str, Any]]:
    """A chat of one question about images."""
    parts = [{"type": "image_url", "image_url": {"url": data_url(image)}} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


@cache
def guarded() -> tiny_models.Tiny:
    """A tiny model whose guard flags UNSAFE and does not flag SAFE, both by the image verdict."""
    tiny = tiny_models.llava()
    torch.manual_seed(3)
    attach_guard(tiny.model, GuardConfig(features="projector", pooling="attention"), processor=tiny.processor)
    with torch.no_grad():
        for weight in guard_of(tiny.model).parameters():
            weight.mul_(2)
    tiny.model.eval()
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in (SAFE, UNSAFE)]
    safe, unsafe = (each.unsafe for each in classify_images(tiny.model, pictures, processor=tiny.processor))
    assert safe < unsafe
    set_calibration(tiny.model, Calibration(threshold=(safe + unsafe) / 2))
    return tiny


SAFE, UNSAFE = png(1), png(2)
BLOCK = {"model": "holisafe", "policy": {"input": {"mode": "block"}}}
SCORE = {"model": "holisafe", "policy": {"input": {"mode": "score"}}}
PICTURES = Settings(decide_by="image")  # type: ignore[arg-type]


@dataclass
class Site:
    """A running server.

    Attributes:
        url: Its address, without path.
        backend: What answers.
        metrics: What it counted.
    """

    url: str
    backend: Any
    metrics: Metrics
    clients: list[openai.OpenAI] = field(default_factory=list)

    def client(self, key: str = "none") -> openai.OpenAI:
        """The official client; closed with the server."""
        self.clients.append(openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60))
        return self.clients[-1]

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        sent = {"json": body} if body is not None else {}
        return httpx.post(self.url + path, **sent, timeout=60, trust_env=False, **options)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60, trust_env=False)

    def chat(self, **fields: Any) -> httpx.Response:
        """Ask about SAFE, in as few tokens as can be, or as `fields` say."""
        body = {"model": NAME, "messages": shown(SAFE), "max_tokens": 2, **fields}
        return self.post("/v1/chat/completions", body)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"holisafe:{name}", labels) or 0.0


@contextmanager
def running(
    backend: Backend,
    settings: Settings = PICTURES,
    keys: KeyRing | None = None,
    remote: RemoteImages | None = None,
    ui: bool = False,
    review: ReviewSample | None = None,
    compared: Compared | None = None,
) -> Iterator[Site]:
    """Serve until the block ends."""
    metrics = Metrics()
    app = application(
        backend, settings, keys=keys, metrics=metrics, remote=remote, review=review, ui=ui, compared=compared
    )
    with listening(app, limits=settings.limits, metrics=metrics) as url:
        site = Site(url, backend, metrics)
        yield site
        for client in site.clients:
            client.close()


def documented_session(url: str, picture: bytes, folder: Path) -> list[str]:
    """What the session of docs/serving.md prints, with a server at `url` and a picture."""
    (folder / "photo.png").write_bytes(picture)
    found = re.search(r"```python\n(import base64.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    written = found[1].replace("http://127.0.0.1:8000", url).replace('"photo.png"', repr(str(folder / "photo.png")))
    written = written.replace("max_tokens=64", "max_tokens=6")
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(written, "docs/serving.md", "exec"), {})
    return said.getvalue().splitlines()


@contextmanager
def listening(app: FastAPI, **options: Any) -> Iterator[str]:
    """Serve an application until the block ends; yields its address."""
    server = make_server(app, "127.0.0.1", 0, **options)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def engine_site(settings: Settings = PICTURES, keys: KeyRing | None = None, **engine: Any) -> Iterator[Site]:
    """Serve the tiny model."""
    tiny = guarded()
    with (
        Engine(tiny.model, tiny.processor, window=0.005, **engine) as running_engine,
        running(EngineBackend(running_engine, NAME), settings, keys) as site,
    ):
        yield site


class Endless(EngineBackend):
    """Judges as the model does, and then answers without end."""

    is_answering = False
    is_left = False
    words = "on "

    async def answer(self, ask: Ask, model: str) -> AsyncGenerator[Event]:
        answer = super().answer(ask, model)
        try:
            yield await anext(answer)
            self.is_answering = True
            while True:
                yield Delta({"content": self.words})
                await asyncio.sleep(0.01)
        finally:
            self.is_left = True
            await answer.aclose()


@contextmanager
def endless_site(settings: Settings = PICTURES) -> Iterator[Site]:
    """Serve the tiny model with answers without end."""
    tiny = guarded()
    with (
        Engine(tiny.model, tiny.processor, window=0.005) as engine,
        running(Endless(engine, NAME), settings) as site,
    ):
        yield site


def wait_until(is_so: Any, seconds: float = 30.0) -> None:
    """Until something another thread does has happened."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)
