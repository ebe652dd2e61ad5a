"""What a guard costs: answers with verdicts against the same model's answers without a guard.

    python perf/guard_overhead.py [--rounds 60] [--tokens 16] [--text 256] [--features language]
    python perf/guard_overhead.py --arch qwen2.5-vl-7b --device cuda --dtype bfloat16 --batch 1 8 32

Three ways answer the same prompts in turn, in one process:

- plain: `generate`, the guard taken out;
- guarded: `guarded_generate`, verdicts read;
- two calls: a forward pass for the verdict, then `generate`, as the released checkpoints are used. Ours computes no
  logits in the first call but the last position's, which is kinder than they are.

Ratios are those of the rounds, with plain = 1: their median and its 95 % interval; whole answers take half as many
rounds as first tokens. On a CPU that is shared, take one thread and look at processor time, which does not count what
others do. Peak memory is that of tensors, weights included.

Architectures but Pocket have random weights. `--tiny` makes them small, to try the code where there is no GPU.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch

from architectures import HOSTS, build, prompts
from holisafe.guard import GuardConfig, attach_guard, detach_guard, guarded_generate, session
from holisafe.guard.attach import find_observer
from paired import Seconds, Way, machine, machine_name, median_ratio, peak_bytes, rounds, write

RESULTS = Path(__file__).parent / "results"
TARGETS = {"cpu": 1.02, "cuda": 1.01}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    model = build(options.arch, device=device, dtype=getattr(torch, options.dtype), tiny=options.tiny)
    found = [_measure(model, batch, options) for batch in options.batch]
    result = {
        "benchmark": "guard_overhead",
        "machine": machine(device),
        "model": options.arch + (" (tiny)" if options.tiny else ""),
        "dtype": options.dtype,
        "features": options.features,
        "rounds": options.rounds,
        "answer_tokens": options.tokens,
        "target": TARGETS[device.type],
        "batches": found,
    }
    print(_table(result))
    if not options.tiny:
        name = f"guard_overhead_{options.arch}_{machine_name(device)}.json"
        write(options.out or RESULTS / name, result)


def _measure(model: Any, batch: int, options: Any) -> dict[str, Any]:
    """Everything about one batch size."""
    inputs = prompts(model, batch, options.text)
    device = model.device
    first = rounds(_ways(model, inputs, 1, options), options.rounds, device, f"batch {batch}, first token")
    answer = _ways(model, inputs, options.tokens, options)
    whole = rounds(answer, options.rounds // 2, device, f"batch {batch}, whole answer")
    memory = {name: peak_bytes(way, [model], device) for name, way in answer.items()}
    return {
        "batch": batch,
        "prompt_tokens": inputs["input_ids"].shape[1],
        "visual_tokens": int((inputs["input_ids"][0] == model.config.image_token_id).sum()),
        "first_token": _compared(first),
        "answer": _compared(whole),
        "tokens_per_s": {
            name: round(batch * options.tokens / statistics.median([each.wall for each in taken]), 2)
            for name, taken in whole.items()
        },
        "peak_memory_mib": {name: round(each / 2**20, 2) for name, each in memory.items()},
        "peak_memory_ratio": {name: round(each / memory["plain"], 4) for name, each in memory.items()},
    }


def _ways(model: Any, inputs: dict[str, Any], tokens: int, options: Any) -> dict[str, Way]:
    answer = {"max_new_tokens": tokens, "do_sample": False}

    def with_guard() -> None:
        if find_observer(model) is None:
            attach_guard(model, GuardConfig(features=options.features))

    def without_guard() -> None:
        if find_observer(model) is not None:
            detach_guard(model)

    @torch.no_grad()
    def two_calls() -> None:
        with session(model):
            verdicts = model(**inputs, use_cache=False, logits_to_keep=1)
        torch.softmax(verdicts["image_logits"].float(), -1).tolist()
        model.generate(**inputs, **answer)

    return {
        "plain": Way(lambda: model.generate(**inputs, **answer), without_guard),
        "guarded": Way(lambda: guarded_generate(model, inputs, **answer), with_guard),
        "two calls": Way(two_calls, with_guard),
    }


def _compared(taken: dict[str, list[Seconds]]) -> dict[str, Any]:
    """Median seconds of each way and its ratio to plain, by both clocks."""
    clocks = {
        "wall": {name: [each.wall for each in all_] for name, all_ in taken.items()},
        "processor": {name: [each.processor for each in all_] for name, all_ in taken.items()},
    }
    return {
        name: {
            clock: {
                "median_s": round(statistics.median(seconds[name]), 5),
                **median_ratio(seconds[name], seconds["plain"]),
            }
            for clock, seconds in clocks.items()
        }
        for name in taken
    }


def _table(result: dict[str, Any]) -> str:
    about = result["machine"]
    lines = [
        f"{result['model']}, {result['dtype']}, {about.get('gpu', about['processor'])}, {result['rounds']} rounds; "
        f"target ≤ {result['target']}",
        "",
        "| batch × prompt tokens | way | first token, ratio | by processor time | answer, ratio | by processor time "
        "| tokens/s | peak memory, ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in result["batches"]:
        for way in each["first_token"]:
            times = [_ratio(each[what][way][clock]) for what in ("first_token", "answer") for clock in _CLOCKS]
            lines.append(
                f"| {each['batch']} × {each['prompt_tokens']} | {way} | {' | '.join(times)} | "
                f"{each['tokens_per_s'][way]:.2f} | {each['peak_memory_ratio'][way]:.4f} |"
            )
    return "\n".join(lines)


_CLOCKS = ("wall", "processor")


def _ratio(found: dict[str, float]) -> str:
    return f"{found['ratio']:.4f} ({found['low']:.4f} to {found['high']:.4f})"


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Guarded against unguarded answers: time, tokens/s, peak memory.")
    parser.add_argument("--arch", choices=HOSTS, default="pocket")
    parser.add_argument("--device", choices=TARGETS, default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="prompts at once")
    parser.add_argument("--text", type=int, default=256, help="text tokens of a prompt, beside its image")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--features", choices=("language", "projector"), default="language")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="two narrow layers; nothing is recorded")
    parser.add_argument("--out", type=Path, help="where to record; perf/results/ when left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
