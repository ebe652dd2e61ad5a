"""What serving costs: first-token and whole latency, throughput, batching, the guard, a proxy, images seen before.

    python perf/serving.py [--clients 1 8 32] [--rounds 5] [--tokens 16] [--json docs/results/serving.json]
    python perf/serving.py --quick

Real servers on loopback with Safe Pocket, in processes of their own, in one run. Ways are measured in turn, round by
round, and the ratios are medians of the rounds' ratios:

- guarded: `holisafe serve pocket-safe`;
- no guard: the same without its guard;
- one by one: guarded, with batches of one;
- transformers serve: transformers' own server with the same checkpoint, without a guard;
- proxy: the guard in front of the server without one;
- guard alone: `/v1/moderations` of the proxy, images not seen before;
- seen before: the same with one image again and again.

Every request has a picture and a question of its own, but "seen before". The first four are asked the same. With
`--json` a page beside it is written, too. Processor time is that of the servers alone: what others do on the machine
changes it less than the time by the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from paired import machine, median_ratio
from served import CHAT, MODERATIONS, NAME, Process, holisafe_servers, picture, question, transformers_server


@dataclass
class Way:
    """One of the ways compared.

    Attributes:
        process: Where it is served.
        url: The address that is asked.
        model: The name of its model.
        seed: Tells its pictures from those of ways that share a model with it.
        checks: Whether it judges and does not answer.
        repeats: Whether it is shown one picture alone.
    """

    process: Process
    url: str
    model: str = NAME
    seed: int = 0
    checks: bool = False
    repeats: bool = False

    def body(self, seed: list[int], tokens: int) -> dict[str, Any]:
        """A request."""
        seed = [0] if self.repeats else [self.seed, *seed]
        if self.checks:
            return {"input": [picture(seed)]}
        return question(seed, tokens, self.model, stream=True, temperature=0)


@dataclass
class Taken:
    """Seconds of each request of one way, and of each round, by the clock and on the servers' processor."""

    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


RATIOS: tuple[tuple[str, str, str, float | None, bool], ...] = (
    ("batched, times one by one", "one by one", "guarded", 2.5, True),
    ("guarded, times `transformers serve`", "transformers serve", "guarded", 1.0, True),
    ("guard alone, times whole answers", "guarded", "guard alone", 5.0, True),
    ("images seen before, times new ones", "guard alone", "seen before", 10.0, True),
    ("time of guarded, times no guard", "guarded", "no guard", 1.02, False),
    ("time of proxy, times the server behind", "proxy", "no guard", None, False),
)
"""What it says, the way above and below the line, the aim, and whether it is to be at least that or at most."""


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        ways = _ways(stack, options)
        if options.warm_up:
            asyncio.run(_measure(ways, 1, 1, options))
        found: dict[int, dict[str, Taken]] = {}
        for clients in options.clients:
            found[clients] = asyncio.run(_measure(ways, clients, _rounds(clients, options), options))
            _record(found, options)  # a run that is ended early leaves what it has measured


def _record(found: dict[int, dict[str, Taken]], options: Any) -> None:
    result = {
        "benchmark": "serving",
        "machine": {**machine(torch.device("cpu")), "threads": options.threads, "processors": os.cpu_count()},
        "load_average": [round(each, 1) for each in os.getloadavg()],
        "model": NAME,
        "tokens": options.tokens,
        "clients": {str(clients): _summary(found[clients]) for clients in sorted(found)},
    }
    text = page(result)
    print(text, flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
        options.json.with_suffix(".md").write_text(text)


def _ways(stack: ExitStack, options: Any) -> dict[str, Way]:
    names = ("guarded", "one by one", "no guard", "proxy")
    process = stack.enter_context(holisafe_servers(options.threads, names))
    ways = {name: Way(process, process.urls[name] + CHAT) for name in names}
    ways["proxy"].seed = 1  # shares the model of the server without a guard, and what it knows of pictures
    for name in ("guard alone", "seen before"):
        url = process.urls["proxy"] + MODERATIONS
        ways[name] = Way(process, url, seed=2, checks=True, repeats=name == "seen before")
    if not options.without_transformers:
        from holisafe.models.pocket._load import safe_checkpoint_folder

        folder = safe_checkpoint_folder()
        other = stack.enter_context(transformers_server(options.threads, folder))
        (url,) = other.urls.values()
        ways["transformers serve"] = Way(other, url + CHAT, str(folder))
    return ways


def _rounds(clients: int, options: Any) -> int:
    """A round of many clients has as many requests as several of few."""
    return max(1, min(options.rounds, options.rounds * 16 // clients))


async def _measure(ways: dict[str, Way], clients: int, rounds: int, options: Any) -> dict[str, Taken]:
    """All ways with so many clients, in turn."""
    taken = {name: Taken() for name in ways}
    names = list(ways)
    for index in range(rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            way, into = ways[name], taken[name]
            before = way.process.seconds()
            requests = await _round(way, [rounds, clients, index], clients, options)
            into.processor.append(way.process.seconds() - before)
            into.rounds.append(max(each.end for each in requests) - min(each.begin for each in requests))
            into.first += [each.first - each.begin for each in requests]
            into.whole += [each.end - each.begin for each in requests]
            into.answers += [each.text for each in requests]
        print(f"{clients} clients: {index + 1} of {rounds} rounds", file=sys.stderr, flush=True)
    return taken


@dataclass(frozen=True)
class Request:
    """When it began, had its first text, and ended, by one clock; and its answer."""

    begin: float
    first: float
    end: float
    text: str


async def _round(way: Way, seed: list[int], clients: int, options: Any) -> list[Request]:
    """Requests of all clients at once, one after the other for each client."""
    many = options.alone if clients == 1 else 1
    many *= 4 if way.checks else 1  # takes so little time that more are needed to measure it
    bodies = [[way.body([*seed, c, r], options.tokens) for r in range(many)] for c in range(clients)]
    sent = [[json.dumps(body).encode() for body in each] for each in bodies]
    async with httpx.AsyncClient(timeout=1800, trust_env=False, limits=httpx.Limits(max_connections=None)) as http:
        found = await asyncio.gather(*(_client(http, way.url, each) for each in sent))
    return [each for requests in found for each in requests]


async def _client(http: httpx.AsyncClient, url: str, bodies: list[bytes]) -> list[Request]:
    found = []
    for body in bodies:
        begin, first, pieces = time.perf_counter(), None, []
        async with http.stream("POST", url, content=body, headers={"Content-Type": "application/json"}) as reply:
            if reply.status_code != 200:
                raise SystemExit(f"{url}: {reply.status_code} {(await reply.aread()).decode()}")
            async for line in reply.aiter_lines():
                if piece := _text(line):
                    first = first or time.perf_counter()
                    pieces.append(piece)
        end = time.perf_counter()
        found.append(Request(begin, first or end, end, "".join(pieces).strip()))
    return found


def _text(line: str) -> str:
    """The piece of the answer that a line of a stream holds."""
    if not line.startswith("data: {"):
        return ""
    choices = json.loads(line.removeprefix("data: ")).get("choices")
    return str(choices[0]["delta"].get("content") or "") if choices else ""


def _summary(taken: dict[str, Taken]) -> dict[str, Any]:
    ways = {
        name: {
            "requests": len(each.whole),
            "first_token_s": _percentiles(each.first),
            "whole_s": _percentiles(each.whole),
            "requests_per_s": round(len(each.whole) / sum(each.rounds), 3),
            "processor_s_per_request": round(sum(each.processor) / len(each.whole), 4),
        }
        for name, each in taken.items()
    }
    ratios = {
        words: {
            "by_clock": _ratio(taken[above], taken[below], "rounds"),
            "by_processor": _ratio(taken[above], taken[below], "processor"),
            "aim": aim,
            "is_least": is_least,
        }
        for words, above, below, aim, is_least in RATIOS
        if above in taken and below in taken
    }
    if "transformers serve" in taken:
        pairs = list(zip(taken["guarded"].answers, taken["transformers serve"].answers, strict=True))
        ratios["guarded, times `transformers serve`"]["same_answers"] = f"{sum(a == b for a, b in pairs)}/{len(pairs)}"
    return {"rounds": len(taken["guarded"].rounds), "ways": ways, "ratios": ratios}


def _ratio(above: Taken, below: Taken, what: str) -> dict[str, float]:
    """Of the time of one request, median over rounds."""

    def each(taken: Taken) -> list[float]:
        requests = len(taken.whole) / len(taken.rounds)
        return [
            max(seconds, 0.005) / requests for seconds in getattr(taken, what)
        ]  # the processor's clock ticks 0.01 s

    return median_ratio(each(above), each(below))


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    return {"p50": round(float(p50), 4), "p95": round(float(p95), 4), "p99": round(float(p99), 4)}


def page(result: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    about = result["machine"]
    heads = [f"{clients} client{'s' if clients != '1' else ''}" for clients in result["clients"]]
    names = list(dict.fromkeys(name for found in result["clients"].values() for name in found["ratios"]))
    rounds = ", ".join(f"{each['rounds']} of {clients} client(s)" for clients, each in result["clients"].items())
    lines = [
        "# Serving",
        "",
        "Written by `python perf/serving.py --json docs/results/serving.json`, which says what the ways are: real",
        "servers on loopback, measured in turn in one run. Ratios are medians over rounds with their 95 % interval, by",
        "processor time of the servers, which other work on the machine changes little, and by the clock.",
        "",
        f"{result['model']}, at most {result['tokens']} tokens an answer; {rounds} rounds; "
        f"{about['processor']}, {about['processors']} processors, {about['threads']} thread(s), torch "
        f"{about['torch']}, transformers {about['transformers']}. Load average of the machine at the end: "
        f"{result['load_average'][1]}; above the number of processors, others slowed what the clock shows.",
        "",
        f"| ratio | aim | {' | '.join(f'{head}, processor | clock' for head in heads)} |",
        "|---|---:" + "|---:|---:" * len(heads) + "|",
    ]
    for name in names:
        cells, aim = [], ""
        for found in result["clients"].values():
            ratio = found["ratios"][name]
            if ratio["aim"] is not None:
                aim = f"{'≥' if ratio['is_least'] else '≤'} {ratio['aim']:g}"
            cells += [_interval(ratio["by_processor"]), _interval(ratio["by_clock"])]
        lines.append(f"| {name} | {aim} | {' | '.join(cells)} |")
    lines += [
        "",
        "| clients | way | first token p50 / p95 / p99, s | whole p50 / p95 / p99, s | requests/s | processor, s |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for clients, found in result["clients"].items():
        for name, each in found["ways"].items():
            first, whole = (
                " / ".join(f"{value:.3g}" for value in each[key].values()) for key in ("first_token_s", "whole_s")
            )
            rest = f"{each['requests_per_s']:.3g} | {each['processor_s_per_request']:.3g}"
            lines.append(f"| {clients} | {name} | {first} | {whole} | {rest} |")
    same = [
        found["ratios"][name]["same_answers"]
        for found in result["clients"].values()
        for name in found["ratios"]
        if "same_answers" in found["ratios"][name]
    ]
    if same:
        lines += ["", f"Answers that are those of `transformers serve`, word for word: {', '.join(same)}."]
    return "\n".join(lines) + "\n"


def _interval(ratio: dict[str, float]) -> str:
    return f"{ratio['ratio']:.3g} ({ratio['low']:.3g}–{ratio['high']:.3g})"


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Latency and throughput of guarded serving.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--alone", type=int, default=4, help="requests of a client that is alone, in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16, help="maximum number of new tokens")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-warm-up", dest="warm_up", action="store_false", help="count the first round, too")
    parser.add_argument("--without-transformers", action="store_true", help="leave transformers' server out")
    parser.add_argument("--quick", action="store_true", help="few requests, to try the code")
    parser.add_argument("--json", type=Path, help="where to record; a page of the same name is written beside it")
    options = parser.parse_args()
    if options.quick:
        options.clients, options.alone, options.rounds, options.tokens = [1, 8], 1, 2, 4
    return options


if __name__ == "__main__":
    main()
