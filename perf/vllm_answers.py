"""vLLM beside the engine `transformers`: the same answers, speed, and what the guard in front of vLLM costs.

    python perf/vllm_answers.py --vllm-python PYTHON [--samples 40] [--tokens 32] [--pairs 24]
    python perf/vllm_answers.py --base-url http://127.0.0.1:8000/v1     # a server of Safe Pocket that runs already

Safe Pocket, greedy, float32, on HoliSafe-Open. The answers are two runs of `holisafe bench`; the same tokens are the
same text, ended for the same reason (vLLM counts the end token, we do not). Latencies are those of streamed answers
about a picture of their own, one at a time and in turn: by vLLM, by vLLM behind `holisafe serve --upstream` with the
policy score and with block, and by `holisafe serve pocket-safe` (the engine `transformers`). Ratios are medians over
such rounds, with the 25th and 75th percentile. Writes docs/results/vllm.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

import holisafe
from holisafe.bench import VllmOptions, measure
from holisafe.bench._vllm_server import vllm_server
from holisafe.metrics.calibration import share_figure
from paired import machine
from served import command, question

MODEL = "pocket-safe"
RESULTS = Path(__file__).parents[1] / "docs/results"
WAYS = ("vLLM", "guard in front of vLLM, observing", "the same, blocking", "holisafe serve")
AIM_SAME, AIM_PROXY = 0.95, 1.15


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = options.base_url or _start(stack, work, options)
        answers = _answers(address, work, options)
        latencies = _latencies(stack, address, options)
    result = {
        "benchmark": "vllm",
        "machine": machine(torch.device("cpu")),
        "model": MODEL,
        "samples": options.samples,
        "tokens": options.tokens,
        "pairs": options.pairs,
        "answers": answers,
        "latency": latencies,
    }
    (options.out / "vllm.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    page = _page(result)
    (options.out / "vllm.md").write_text(page, "utf-8")
    print(page)


def _start(stack: ExitStack, work: Path, options: argparse.Namespace) -> str:
    """A vLLM of Safe Pocket; its address."""
    model, processor = holisafe.load(MODEL)
    place = work / "checkpoint"
    model.save_pretrained(place)
    processor.save_pretrained(place)
    vllm = VllmOptions(python=options.vllm_python, args={"enforce-eager": True, "max-model-len": 1024})
    arguments = ["--dtype", "float32", "--model-impl", "transformers"]
    address = stack.enter_context(vllm_server(str(place), MODEL, vllm, arguments, work / "vllm.log", print))
    # `measure` and the proxy find its key there
    options.key = address.api_key
    return address.base_url


def _answers(address: str, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Two runs of the same samples, and which answers differ."""
    os.environ["HOLISAFE_VLLM_KEY"] = options.key
    asked = {"limit": options.samples, "max_new_tokens": options.tokens}
    runs, seconds = {}, {}
    for engine, vllm in (("vllm", VllmOptions(base_url=address)), ("transformers", None)):
        began = time.perf_counter()
        runs[engine] = measure(MODEL, engine=engine, vllm=vllm, out=work / engine, **asked)
        seconds[engine] = time.perf_counter() - began
    here, there = runs["transformers"].responses, runs["vllm"].responses
    pairs = list(zip(here, there, strict=True))
    same = [(one.text, one.finish_reason) == (other.text, other.finish_reason) for one, other in pairs]
    figure = share_figure(same, [sample.cluster or sample.id for sample in runs["vllm"].samples])
    assert figure is not None
    return {
        "same": sum(same),
        "share": figure.to_json(),
        "errors": sum(other.error is not None for other in there),
        "differences": [
            {"id": one.sample_id, "transformers": one.text, "vllm": other.text, "error": other.error}
            for (one, other), is_same in zip(pairs, same, strict=True)
            if not is_same
        ],
        "seconds_with_loading": seconds,
    }


def _latencies(stack: ExitStack, address: str, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to the first piece and to the end of streamed answers, asked in turn."""
    front = ["--upstream", address, "--guard", MODEL]
    commands = ([*front, "--policy", "score"], [*front, "--policy", "block"], [MODEL])
    urls = {WAYS[0]: address}
    for way, arguments in zip(WAYS[1:], commands, strict=True):
        words = [sys.executable, "-m", "holisafe", "serve", *arguments]
        process = stack.enter_context(command(way, words, {"HOLISAFE_UPSTREAM_KEY": options.key}))
        urls[way] = f"{process.urls[way]}/v1"
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with httpx.Client(timeout=600, trust_env=False, headers={"Authorization": f"Bearer {options.key}"}) as client:
        for number in range(-2, options.pairs):
            for turn in range(len(WAYS)):
                way = WAYS[(number + turn) % len(WAYS)]
                body = question([number + 2, turn], options.tokens, MODEL, temperature=0, stream=True)
                seconds = _seconds(client, f"{urls[way]}/chat/completions", body)
                if number >= 0:
                    taken[way].append(seconds)
    return {
        "milliseconds": {way: _times(found) for way, found in taken.items()},
        "over_vllm": {way: _ratio(taken[way], taken[WAYS[0]]) for way in WAYS[1:]},
    }


def _seconds(client: httpx.Client, url: str, body: dict[str, Any]) -> tuple[float, float]:
    """To the first piece of text, and to the end."""
    first = None
    began = time.perf_counter()
    with client.stream("POST", url, json=body) as reply:
        assert reply.status_code == 200, reply.read()
        for line in reply.iter_lines():
            if first is None and line.startswith("data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0]["delta"].get("content"):
                    first = time.perf_counter() - began
    assert first is not None
    return first, time.perf_counter() - began


def _times(found: list[tuple[float, float]]) -> dict[str, float]:
    first, whole = zip(*found, strict=True)
    return {"first": 1000 * statistics.median(first), "whole": 1000 * statistics.median(whole)}


def _ratio(over: list[tuple[float, float]], under: list[tuple[float, float]]) -> dict[str, list[float]]:
    """Of the first piece and of the whole: 25th percentile, median, 75th, round by round."""
    ratios = np.array(over) / np.array(under)  # (rounds, 2)
    low, middle, high = np.percentile(ratios, (25, 50, 75), axis=0)
    return {name: [low[i], middle[i], high[i]] for i, name in enumerate(("first", "whole"))}


def _page(result: dict[str, Any]) -> str:
    answers, latency, about = result["answers"], result["latency"], result["machine"]
    share, low, high = (answers["share"][name] for name in ("value", "low", "high"))
    ratios = "\n".join(
        f"| {way} | {_spread(found['first'])}{f', aim {AIM_PROXY:.2f}' if way == WAYS[1] else ''} | "
        f"{_spread(found['whole'])} |"
        for way, found in latency["over_vllm"].items()
    )
    rows = "\n".join(
        f"| {way} | {found['first']:.0f} | {found['whole']:.0f} |" for way, found in latency["milliseconds"].items()
    )
    told = "\n".join(
        f"| `{each['id']}` | {_cell(each['transformers'])} | {_cell(each['error'] or each['vllm'])} |"
        for each in answers["differences"]
    )
    table = f"\n| sample | transformers | vLLM |\n|---|---|---|\n{told}\n" if told else ""
    return f"""# vLLM beside the engine transformers

`perf/vllm_answers.py` wrote this page: Safe Pocket in float32, greedy, at most {result["tokens"]} tokens, on
{about["processor"]}. Each server is a process of its own; all share {os.cpu_count()} cores.

**The same tokens** in {answers["same"]} of {result["samples"]} answers of HoliSafe-Open: {share:.1%} (95 % interval
{low:.1%} to {high:.1%}; aim {AIM_SAME:.0%}). {answers["errors"]} ended in an error. They differ in:{table or " none."}

| streamed, one at a time, {result["pairs"]} rounds | first piece, ms | whole answer, ms |
|---|---:|---:|
{rows}

| time over that of {WAYS[0]}, median ratio (quartiles) | first piece | whole answer |
|---|---:|---:|
{ratios}
"""


def _spread(found: list[float]) -> str:
    low, middle, high = found
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())[:160]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-python", help="interpreter that has vLLM")
    parser.add_argument("--base-url", help="a vLLM of Safe Pocket that runs already")
    parser.add_argument("--key", default="none", help="its key")
    parser.add_argument("--work", type=Path, help="folder that keeps the runs, with --base-url: they resume")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
