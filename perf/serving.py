"""What serving costs: first-token and whole latency, throughput, batching, the guard, a proxy, images seen before.

    python perf/serving.py [--clients 1 8 32] [--requests 4] [--tokens 16]
    python perf/serving.py --quick

Real servers on loopback, Safe Pocket, one process, one run. Ways are measured in turn, round by round:

- guarded: `holisafe serve pocket-safe`;
- no guard: the same without its guard;
- one by one: guarded, with batches of one;
- proxy: the guard in front of the server without one;
- guard alone: `/v1/moderations` of the proxy, images not seen before;
- seen before: the same with one image again and again.

Every request has a picture of its own and a question of its own, but "seen before". Clients and servers share the
processor and Python's lock, so figures compare ways; they are not what a server alone reaches.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

import holisafe
from holisafe.guard import detach_guard
from holisafe.models import Engine
from holisafe.serve import EngineBackend, ImageGuard, ProxyBackend, Settings, Upstream, application, make_server
from paired import machine, machine_name, write

RESULTS = Path(__file__).parent / "results"
NAME = "pocket-safe"
SETTINGS = Settings()


@dataclass
class Taken:
    """Seconds of each request of one way, and of each round, by the wall and on the processor."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    with ExitStack() as stack:
        urls = _servers(stack)
        found = {clients: asyncio.run(_measure(urls, clients, options)) for clients in options.clients}
    result = {
        "benchmark": "serving",
        "machine": machine(torch.device("cpu")),
        "model": NAME,
        "requests_per_client": options.requests,
        "rounds": options.rounds,
        "tokens": options.tokens,
        "clients": {str(clients): _summary(taken, clients, options) for clients, taken in found.items()},
    }
    print(_table(result))
    if not options.quick or options.out:
        write(options.out or RESULTS / f"serving_{machine_name(torch.device('cpu'))}.json", result)


class _Unguarded(EngineBackend):
    """The same model without a guard."""

    judges_text = False

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name


def _servers(stack: ExitStack) -> dict[str, tuple[str, str]]:
    """Address and path of each way."""
    guarded = holisafe.load(NAME, guard="own")
    plain = holisafe.load(NAME, guard="own")
    guard = holisafe.load(NAME, guard="own")
    detach_guard(plain.model)

    def engine(loaded: Any, **more: Any) -> Engine:
        return Engine(loaded.model, loaded.processor, window=0.01, **more)

    bare = stack.enter_context(_served(_Unguarded(engine(plain), NAME)))
    proxy = stack.enter_context(
        _served(ProxyBackend(Upstream(f"{bare}/v1"), ImageGuard(guard.model, guard.processor), model=NAME))
    )
    chat = "/v1/chat/completions"
    return {
        "guarded": (stack.enter_context(_served(EngineBackend(engine(guarded), NAME))), chat),
        "no guard": (bare, chat),
        "one by one": (stack.enter_context(_served(EngineBackend(engine(guarded, batch_size=1), NAME))), chat),
        "proxy": (proxy, chat),
        "guard alone": (proxy, "/v1/moderations"),
        "seen before": (proxy, "/v1/moderations"),
    }


@contextmanager
def _served(backend: Any) -> Iterator[str]:
    server = make_server(application(backend, SETTINGS), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


async def _measure(urls: dict[str, tuple[str, str]], clients: int, options: Any) -> dict[str, Taken]:
    """All ways with so many clients, in turn; the first round is not counted."""
    taken = {way: Taken() for way in urls}
    names = list(urls)
    for index in range(-1, options.rounds):
        shift = index % len(names)
        for way in names[shift:] + names[:shift]:
            seed = [clients, index + 1, names.index(way)]
            before = time.process_time()
            first, whole, seconds = await _round(way, *urls[way], seed, clients, options)
            if index >= 0:
                taken[way].first += first
                taken[way].whole += whole
                taken[way].rounds.append(seconds)
                taken[way].processor.append(time.process_time() - before)
    return taken


async def _round(
    way: str, url: str, path: str, seed: list[int], clients: int, options: Any
) -> tuple[list[float], list[float], float]:
    bodies = [[_body(way, [*seed, c, r], options.tokens) for r in range(options.requests)] for c in range(clients)]
    async with httpx.AsyncClient(timeout=600, trust_env=False, limits=httpx.Limits(max_connections=None)) as http:
        began = time.perf_counter()
        found = await asyncio.gather(*(_client(http, url + path, each) for each in bodies))
        seconds = time.perf_counter() - began
    return [f for each in found for f, _ in each], [w for each in found for _, w in each], seconds


async def _client(http: httpx.AsyncClient, url: str, bodies: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Seconds to the first piece of the answer and to its end, of one request after the other."""
    found = []
    for body in bodies:
        began, first = time.perf_counter(), None
        async with http.stream("POST", url, json=body) as reply:
            if reply.status_code != 200:
                raise SystemExit(f"{url}: {reply.status_code} {(await reply.aread()).decode()}")
            async for line in reply.aiter_lines():
                if first is None and _has_text(line):
                    first = time.perf_counter() - began
        whole = time.perf_counter() - began
        found.append((whole if first is None else first, whole))
    return found


def _has_text(line: str) -> bool:
    """Whether a line of a stream holds a piece of the answer."""
    if not line.startswith("data: {"):
        return False
    choices = json.loads(line.removeprefix("data: "))["choices"]
    return bool(choices and choices[0]["delta"].get("content"))


def _body(way: str, seed: list[int], tokens: int) -> dict[str, Any]:
    draw = np.random.default_rng([0] if way == "seen before" else seed)
    encoded = io.BytesIO()
    Image.fromarray(draw.integers(0, 255, (192, 192, 3), dtype=np.uint8)).save(encoded, "PNG")
    url = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    if way in ("guard alone", "seen before"):
        return {"input": [image]}
    question = f"What is picture {'-'.join(map(str, seed))} good for?"
    messages = [{"role": "user", "content": [image, {"type": "text", "text": question}]}]
    return {"model": NAME, "messages": messages, "max_tokens": tokens, "stream": True}


def _summary(taken: dict[str, Taken], clients: int, options: Any) -> dict[str, Any]:
    requests = clients * options.requests
    ways = {
        way: {
            "first_token_s": _percentiles(each.first),
            "whole_s": _percentiles(each.whole),
            "requests_per_s": round(requests / statistics.median(each.rounds), 3),
        }
        for way, each in taken.items()
    }

    def per_round(above: str, below: str) -> list[float]:
        """By the clock on the wall, and by processor time, which what others do on the machine changes less."""
        pairs = [(taken[above].rounds, taken[below].rounds), (taken[above].processor, taken[below].processor)]
        return [round(statistics.median(a / b for a, b in zip(*pair, strict=True)), 3) for pair in pairs]

    def first(above: str, below: str) -> list[float]:
        return [round(statistics.median(taken[above].first) / statistics.median(taken[below].first), 3)]

    return {
        "ways": ways,
        "ratios": {
            "throughput, batched to one by one": per_round("one by one", "guarded"),
            "time, guard to no guard": per_round("guarded", "no guard"),
            "first token, guard to no guard": first("guarded", "no guard"),
            "first token, proxy to the server behind": first("proxy", "no guard"),
            "throughput, guard alone to whole answers": per_round("guarded", "guard alone"),
            "throughput, images seen before to new ones": per_round("guard alone", "seen before"),
        },
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    return {"p50": round(float(p50), 4), "p95": round(float(p95), 4), "p99": round(float(p99), 4)}


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['model']}, {result['tokens']} tokens an answer, {result['machine']['processor']}, "
        f"{result['machine']['threads']} thread(s)",
        "",
        "| clients | way | first token p50 / p95 / p99, s | whole p50 / p95 / p99, s | requests/s |",
        "|---|---|---|---|---|",
    ]
    for clients, found in result["clients"].items():
        for way, each in found["ways"].items():
            first, whole = (" / ".join(map(str, each[key].values())) for key in ("first_token_s", "whole_s"))
            lines.append(f"| {clients} | {way} | {first} | {whole} | {each['requests_per_s']} |")
    names = next(iter(result["clients"].values()))["ratios"]
    heads = " | ".join(f"{clients} clients" for clients in result["clients"])
    lines += ["", f"| ratio by the wall / by processor time | {heads} |"]
    lines.append("|---" * (1 + len(result["clients"])) + "|")
    for name in names:
        cells = [" / ".join(map(str, found["ratios"][name])) for found in result["clients"].values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Latency and throughput of guarded serving.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=4, help="requests of each client in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16, help="maximum number of new tokens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few requests, to try the code; nothing is recorded")
    parser.add_argument("--out", type=Path, help="where to record; perf/results/ when left out")
    options = parser.parse_args()
    if options.quick:
        options.clients, options.requests, options.rounds, options.tokens = [1, 8], 2, 2, 8
    return options


if __name__ == "__main__":
    main()
