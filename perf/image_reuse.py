"""How much faster answers come when what questions share about an image is computed once.

    python perf/image_reuse.py [--model pocket] [--data open] [--samples 64] [--max-new-tokens 32] [--pairs 5]

The same questions are asked with and without reuse, in turn, in one process; each timing starts with nothing cached.
Printed are the median rates in samples per second and the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import torch

from holisafe import datasets
from holisafe.models import Engine, GenerationOptions, LoadedModel, Prompt, load
from holisafe.records import Sample


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    loaded = load(options.model, device=options.device, dtype=options.dtype)
    samples = _by_image(datasets.load(options.data, options.split), options.samples)
    images = len({image.key for sample in samples for image in sample.images})
    _measure(loaded, samples[: options.batch_size], options, reuse=True)  # warm up

    rates: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(options.pairs):
        for reuse in (True, False) if pair % 2 else (False, True):
            rate, way = _measure(loaded, samples, options, reuse=reuse)
            rates[reuse].append(rate)
            print(f"pair {pair + 1}: {way:8} {rate:7.2f} samples/s", flush=True)
    with_reuse, without = rates[True], rates[False]
    result = {
        "model": options.model,
        "device": str(loaded.model.device),
        "samples": len(samples),
        "images": images,
        "batch_size": options.batch_size,
        "max_new_tokens": options.max_new_tokens,
        "with_reuse": round(statistics.median(with_reuse), 3),
        "without_reuse": round(statistics.median(without), 3),
        "ratio": round(statistics.median(a / b for a, b in zip(with_reuse, without, strict=True)), 3),
        "pairs": options.pairs,
    }
    print(json.dumps(result))


def _measure(loaded: LoadedModel, samples: list[Sample], options: Any, *, reuse: bool) -> tuple[float, str]:
    """Samples per second, and the way of answering."""
    prompts = [Prompt.of(sample) for sample in samples]
    with Engine(*loaded, batch_size=options.batch_size, reuse=reuse, window=0.0) as engine:
        start = time.perf_counter()
        engine.answer(prompts, GenerationOptions(max_new_tokens=options.max_new_tokens))
        return len(samples) / (time.perf_counter() - start), engine.reuse.way.value


def _by_image(samples: list[Sample], count: int) -> list[Sample]:
    """About `count` samples: all questions about one image, then all about the next, as a run asks them."""
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(tuple(image.key for image in sample.images), []).append(sample)
    return [sample for group in groups.values() for sample in group][:count]


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Samples per second with and without image reuse.")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--data", default="open")
    parser.add_argument("--split", default="test")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
