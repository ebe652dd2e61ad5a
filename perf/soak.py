"""Hours of mixed load: does memory grow, is an answer wrong, is a valid request lost, does a slot stay taken?

    python perf/soak.py [--minutes 30] [--json docs/results/soak.json]

Safe Pocket behind `holisafe serve`, and a guard in front of a second one, in a process of their own on loopback.
Clients ask both for answers (whole and streamed), verdicts and LiteLLM's decision, with pictures that come again and
with new ones. Of the requests, a tenth each is malformed, oversized, or given up by its client before the answer ends.

- Wrong: a valid request whose status is not 200, or whose answer or verdict is not the one that the model gave offline,
  before the load, without any server.
- Lost: a valid request without an answer.
- Taken: once the load is over, requests that a server still counts as running, in front or behind.
- Growth: median memory of the process without that of files, of the last tenth of the samples against that of the tenth
  after warm-up, the first fifth of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch

from paired import machine
from served import CHAT, MODERATIONS, NAME, Process, data_url, holisafe_servers

GUARDRAIL = "/beta/litellm_basic_guardrail_api"
QUESTIONS = ("What is this good for?", "Describe the picture.", "Who made it?")
PICTURES = 4
WARM_UP = 0.2


@dataclass
class Expected:
    """What the model says without a server: of each picture P(unsafe), and of picture and question the answer."""

    unsafe: dict[int, float]
    answers: dict[tuple[int, int], str]


@dataclass
class Seen:
    """What happened.

    Attributes:
        asked: Requests by kind.
        statuses: Statuses by kind.
        wrong: What was wrong, in words.
        lost: Valid requests without an answer.
        memory: Seconds since the start and bytes in memory.
    """

    asked: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    expected = _offline(options.tokens)
    with holisafe_servers(1, ("guarded", "no guard", "proxy")) as process:
        seen, taken, seconds = asyncio.run(_soak(process, expected, options))
    result = _result(seen, taken, seconds, options)
    text = page(result)
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
        options.json.with_suffix(".md").write_text(text)
    sys.exit(0 if result["passed"] else 1)


def _offline(tokens: int) -> Expected:
    """Ask the model itself."""
    import base64

    import holisafe
    from holisafe.models import Engine, GenerationOptions, Prompt
    from holisafe.records import ImageRef, Role, Turn

    loaded = holisafe.load(NAME, guard="own")
    refs = [ImageRef(str(at), data=base64.b64decode(data_url([at]).partition(",")[2])) for at in range(PICTURES)]
    with Engine(loaded.model, loaded.processor) as engine:
        places = [(picture, asked) for picture in range(PICTURES) for asked in range(len(QUESTIONS))]
        prompts = [Prompt((Turn(Role.USER, QUESTIONS[asked], (refs[picture],)),)) for picture, asked in places]
        answers = engine.answer(prompts, GenerationOptions(max_new_tokens=tokens))
    unsafe = {picture: each.verdict.images[0].unsafe for (picture, _), each in zip(places, answers, strict=True)}
    return Expected(unsafe, {place: each.text for place, each in zip(places, answers, strict=True)})


async def _soak(process: Process, expected: Expected, options: Any) -> tuple[Seen, dict[str, float], float]:
    seen, began = Seen(), time.monotonic()
    end = began + 60 * options.minutes
    limits = httpx.Limits(max_connections=None, keepalive_expiry=1.0)
    async with httpx.AsyncClient(timeout=600, trust_env=False, limits=limits) as http:
        clients = [_client(http, process, expected, seen, number, end, options) for number in range(options.clients)]
        await asyncio.gather(_watch(process, seen, began, end), *clients)
        taken = {name: await _running(http, url) for name, url in process.urls.items()}
    return seen, taken, time.monotonic() - began


async def _watch(process: Process, seen: Seen, began: float, end: float) -> None:
    step = max(1.0, (end - began) / 200)
    while time.monotonic() < end:
        seen.memory.append((round(time.monotonic() - began, 1), process.resident()))
        if len(seen.memory) % 20 == 0:
            print(f"{seen.memory[-1][0]:.0f} s: {sum(seen.asked.values())} requests, "
                  f"{seen.memory[-1][1] / 2**20:.0f} MiB, {len(seen.wrong)} wrong, {len(seen.lost)} lost",
                  file=sys.stderr, flush=True)  # fmt: skip
        await asyncio.sleep(step)


async def _running(http: httpx.AsyncClient, url: str) -> float:
    """Requests that a server still counts as running, a while after the last; the one that asks is one of them."""
    for _ in range(20):
        text = (await http.get(f"{url}/metrics")).text
        running = float(re.findall(r"^holisafe:num_requests_running (\S+)", text, re.MULTILINE)[0]) - 1
        if running == 0:
            break
        await asyncio.sleep(1)
    return running


async def _client(
    http: httpx.AsyncClient, process: Process, expected: Expected, seen: Seen, number: int, end: float, options: Any
) -> None:
    draw = random.Random(number)
    kinds = {"chat": 3, "stream": 2, "moderation": 2, "guardrail": 1, "new": 2, **dict.fromkeys(BAD, 10 / 7)}
    while time.monotonic() < end:
        kind = draw.choices(list(kinds), list(kinds.values()))[0]
        url = process.urls[draw.choice(("guarded", "proxy"))]
        seen.asked[kind] += 1
        try:
            if kind in BAD:
                await BAD[kind](http, url, seen, draw, options)
            else:
                await _valid(http, url, kind, expected, seen, draw, options)
        except httpx.HTTPError as error:
            seen.lost.append(f"{kind}: {type(error).__name__}")


async def _valid(
    http: httpx.AsyncClient, url: str, kind: str, expected: Expected, seen: Seen, draw: random.Random, options: Any
) -> None:
    picture, asked = draw.randrange(PICTURES), draw.randrange(len(QUESTIONS))
    seed = [picture] if kind != "new" else [10**6, draw.randrange(10**9)]
    if kind in ("moderation", "new"):
        reply = await http.post(url + MODERATIONS, json={"input": [_part(seed)]})
    elif kind == "guardrail":
        body = {"input_type": "request", "texts": [QUESTIONS[asked]], "images": [data_url(seed)]}
        reply = await http.post(url + GUARDRAIL, json=body)
    else:
        body = _chat(seed, QUESTIONS[asked], options.tokens, stream=kind == "stream")
        reply = await http.post(url + CHAT, json=body)
    seen.statuses[f"{kind} {reply.status_code}"] += 1
    if reply.status_code != 200:
        seen.wrong.append(f"{kind}: status {reply.status_code}: {reply.text[:200]}")
    elif kind == "moderation":
        _compare(seen, kind, reply.json()["results"][0]["image_safety"][0]["unsafe"], expected.unsafe[picture])
    elif kind in ("chat", "stream"):
        if '"error":' in reply.text and "data: " in reply.text:
            seen.wrong.append(f"{kind} of {url}: {reply.text[-300:]}")
            return
        text, unsafe = _answer(reply)
        _compare(seen, kind, unsafe, expected.unsafe[picture])
        if text != expected.answers[picture, asked]:
            seen.wrong.append(f"{kind}: {text!r}, offline {expected.answers[picture, asked]!r}")


def _compare(seen: Seen, kind: str, found: float, offline: float) -> None:
    """Batches of other sizes round otherwise."""
    if abs(found - offline) > 1e-3:
        seen.wrong.append(f"{kind}: P(unsafe) {found}, offline {offline}")


def _answer(reply: httpx.Response) -> tuple[str, float]:
    """The text of an answer and P(unsafe) of its first picture, whole or streamed."""
    if not reply.headers["content-type"].startswith("text/event-stream"):
        found = reply.json()
        return str(found["choices"][0]["message"]["content"]), float(found["image_safety"][0]["unsafe"])
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n") if line.startswith("data: {")]
    chunks = [json.loads(line) for line in lines]
    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    return text, next(float(c["image_safety"][0]["unsafe"]) for c in chunks if "image_safety" in c)


def _part(seed: list[int]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(seed)}}


def _chat(seed: list[int], text: str, tokens: int, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": [_part(seed), {"type": "text", "text": text}]}]
    return {"model": NAME, "messages": messages, "max_tokens": tokens, **more}


async def _malformed(http: httpx.AsyncClient, url: str, seen: Seen, draw: random.Random, options: Any) -> None:
    whole = json.dumps(_chat([draw.randrange(PICTURES)], "?", options.tokens)).encode()
    body = draw.choice(
        (
            whole[: len(whole) // 2],
            whole.replace(b"base64,", b"base64,!!"),
            whole.replace(b"iVBOR", b"AAAAA"),
            json.dumps({"model": "another", "messages": "?"}).encode(),
            b"\x00\xff",
        )
    )
    await _refused(http, url, "malformed", body, seen)


async def _oversized(http: httpx.AsyncClient, url: str, seen: Seen, draw: random.Random, options: Any) -> None:
    text = "word " * 300_000
    body = draw.choice(
        (
            {"model": NAME, "messages": [{"role": "user", "content": text}]},
            {"input": [_part([0])] * 20},
            _chat([0], "?", 10**6),
        )
    )
    await _refused(http, url, "oversized", json.dumps(body).encode(), seen)


async def _refused(http: httpx.AsyncClient, url: str, kind: str, body: bytes, seen: Seen) -> None:
    path = MODERATIONS if body.startswith(b'{"input"') else CHAT
    reply = await http.post(url + path, content=body, headers={"Content-Type": "application/json"})
    seen.statuses[f"{kind} {reply.status_code}"] += 1
    if not 400 <= reply.status_code < 500:
        seen.wrong.append(f"{kind}: status {reply.status_code}")


async def _cancelled(http: httpx.AsyncClient, url: str, seen: Seen, draw: random.Random, options: Any) -> None:
    """Leave before the answer ends, at any time."""
    stream = draw.random() < 0.5
    body = _chat([10**6, draw.randrange(10**9)], "Tell a long story.", 64, stream=stream)
    wait = draw.uniform(0.01, 2.0)
    try:
        async with asyncio.timeout(wait), http.stream("POST", url + CHAT, json=body) as reply:
            async for _ in reply.aiter_bytes():
                pass
        seen.statuses["cancelled: too late"] += 1
    except TimeoutError:
        seen.statuses["cancelled: left"] += 1


BAD = {"malformed": _malformed, "oversized": _oversized, "cancelled": _cancelled}


def _result(seen: Seen, taken: dict[str, float], seconds: float, options: Any) -> dict[str, Any]:
    after = [size for at, size in seen.memory if at > WARM_UP * 60 * options.minutes]
    tenth = max(1, len(after) // 10)
    first, last = statistics.median(after[:tenth]), statistics.median(after[-tenth:])
    growth = last / first - 1
    return {
        "benchmark": "soak",
        "machine": machine(torch.device("cpu")),
        "minutes": round(seconds / 60, 1),
        "clients": options.clients,
        "tokens": options.tokens,
        "requests": dict(sorted(seen.asked.items())),
        "statuses": dict(sorted(seen.statuses.items())),
        "wrong": len(seen.wrong),
        "wrong_examples": seen.wrong[:10],
        "lost": len(seen.lost),
        "lost_examples": seen.lost[:10],
        "still_running": taken,
        "memory_mib": {"after_warm_up": round(first / 2**20, 1), "at_the_end": round(last / 2**20, 1)},
        "memory_samples_mib": [[at, round(size / 2**20, 1)] for at, size in seen.memory],
        "growth": round(growth, 4),
        "passed": not seen.wrong and not seen.lost and not any(taken.values()) and growth < 0.05,
    }


def page(result: dict[str, Any]) -> str:
    """What happened, as Markdown."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in result["requests"].items())
    statuses = ", ".join(f"{kind}: {count}" for kind, count in result["statuses"].items())
    memory = result["memory_mib"]
    running = ", ".join(f"{name} {count:g}" for name, count in result["still_running"].items())
    return (
        "# Soak of the server\n\n"
        "Written by `python perf/soak.py --json docs/results/soak.json`, which says what is sent and what counts as "
        "wrong.\n\n"
        f"| | {result['minutes']} minutes, {result['clients']} clients |\n|---|---|\n"
        f"| requests | {sum(result['requests'].values())}: {kinds} |\n"
        f"| statuses | {statuses} |\n"
        f"| wrong answers, verdicts or statuses (aim 0) | {result['wrong']} |\n"
        f"| valid requests without an answer (aim 0) | {result['lost']} |\n"
        f"| still running afterwards (aim 0 each) | {running} |\n"
        f"| memory of the three servers, without files | {memory['after_warm_up']} MiB after warm-up, "
        f"{memory['at_the_end']} MiB at the end: {result['growth']:+.1%} (aim below 5 %) |\n"
    )


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Mixed load for a long time.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=8, help="maximum number of new tokens of a valid request")
    parser.add_argument("--json", type=Path, help="where to record; a page of the same name is written beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
