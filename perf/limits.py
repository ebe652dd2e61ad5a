"""What one extreme input costs: peak memory and time of inputs that are far longer or larger than the others.

    python perf/limits.py [--json]

Each case runs in a process of its own, on one thread; its peak memory is that of the whole process, which includes
loading Pocket. The inputs are made here. A case out of bounds is marked, and the exit status is 1. The bounds:

- a long prompt among short ones goes alone: a batch of 16 needs at most 1.25 times what one by one needs, in memory
  and in time;
- a query of 30,000 words is an error of its sample, the others are answered, and memory stays within 256 MiB of what
  short prompts need;
- 16 images of 49 million pixels in one batch need at most 1.25 times the memory that two of them need: the image door's
  limit on the sum of pixels lets two be decoded at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from PIL import Image

from holisafe.guard import classify_images
from holisafe.images import open_image
from holisafe.models import Engine, GenerationOptions, Prompt, Request, load
from holisafe.records import ImageRef

MODEL = "pocket"
SHORT, LONG_TOKENS, WORDS, IMAGES, SIDE = 15, 1500, 30_000, 16, 7000
GENERATION = GenerationOptions(max_new_tokens=8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        torch.set_num_threads(1)
        print(json.dumps(CASES[options.case](options.images)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        found = {case: in_child(case, Path(folder)) for case in CASES}
    out_of_bounds = check(found)
    result = {
        "benchmark": "limits",
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": 1,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "model": MODEL,
        "cases": found,
        "out_of_bounds": out_of_bounds,
    }
    print(json.dumps(result, indent=2) if options.json else table(found, out_of_bounds), flush=True)
    return 1 if out_of_bounds else 0


def in_child(case: str, images: Path) -> dict[str, Any]:
    """Run one case in a process of its own; with its peak memory."""
    command = [sys.executable, __file__, "--case", case, "--images", str(images)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"case {case} ended with status {os.waitstatus_to_exitcode(status)}")
    return {"peak_mib": round(usage.ru_maxrss / 1024, 1), **json.loads(told)}


def check(found: dict[str, Any]) -> list[str]:
    """The cases that are out of bounds, each with its reason."""
    short, one, many, words = (found[case] for case in ("short", "long-1", "long-16", "words"))
    two = 1.25 * found["images-2"]["peak_mib"]
    bounds = {
        "long-16: memory": many["peak_mib"] <= 1.25 * one["peak_mib"],
        "long-16: time": many["seconds"] <= 1.25 * one["seconds"],
        "words: one error": (words["errors"], words["answers"]) == (1, SHORT),
        "words: memory": words["peak_mib"] <= short["peak_mib"] + 256,
        "images-engine: all answered": found["images-engine"]["answers"] == IMAGES,
        "images-engine: memory": found["images-engine"]["peak_mib"] <= two,
        "images-guard: memory": found["images-guard"]["peak_mib"] <= two,
    }
    return [name for name, is_within in bounds.items() if not is_within]


def table(found: dict[str, Any], out_of_bounds: list[str]) -> str:
    lines = [f"{'case':15} {'peak MiB':>9} {'of these loading':>17} {'seconds':>8} {'answers':>8} {'errors':>7}"]
    for case, row in found.items():
        lines.append(
            f"{case:15} {row['peak_mib']:9.1f} {row['loaded_mib']:17.1f} {row['seconds']:8.2f} {row['answers']:8} "
            f"{row['errors']:7}"
        )
    lines += [f"error of the sample: {row['first_error']}" for row in found.values() if row["first_error"]]
    return "\n".join([*lines, *(f"out of bounds: {each}" for each in out_of_bounds)])


def write_images(folder: Path) -> None:
    """Different images of 49 million pixels each."""
    for number in range(IMAGES):
        Image.new("RGB", (SIDE, SIDE), (10 * number, 120, 200)).save(folder / f"{number:02}.png", compress_level=1)


def shown(folder: Path) -> list[ImageRef]:
    return [ImageRef(path.name, path=path, root=folder) for path in sorted(folder.glob("*.png"))]


def about(images: list[ImageRef]) -> list[Prompt]:
    return [Prompt.ask("What is this?", image) for image in images]


def short_prompts() -> list[Prompt]:
    return [Prompt.ask(f"What is this, number {number}?") for number in range(SHORT)]


def long_prompt(processor: Any) -> Prompt:
    """One question of about 1,500 tokens."""
    word, tokens = "box ", processor.tokenizer
    per_word = len(tokens.encode(word * 100, add_special_tokens=False)) / 100
    return Prompt.ask(word * round(LONG_TOKENS / per_word) + "What is this?")


def ask(prompts: Callable[[Any], list[Prompt]], batch_size: int) -> dict[str, Any]:
    """Ask Pocket all prompts at once, and count what comes back."""
    loaded = load(MODEL, device="cpu")
    asked = prompts(loaded.processor)
    loaded_mib = peak_mib()
    with Engine(*loaded, batch_size=batch_size) as engine:
        start = time.perf_counter()
        futures = [engine.submit(Request(prompt, GENERATION)) for prompt in asked]
        wait(futures)
        seconds = time.perf_counter() - start
    errors = [str(future.exception()) for future in futures if future.exception() is not None]
    return report(loaded_mib, seconds, len(futures) - len(errors), errors)


def classify(folder: Path) -> dict[str, Any]:
    """Classify all images in one batch by Safe Pocket's guard."""
    loaded = load("pocket-safe", device="cpu", guard="own")
    loaded_mib, start = peak_mib(), time.perf_counter()
    images = (open_image(image) for image in shown(folder))
    verdicts = list(classify_images(loaded.model, images, processor=loaded.processor, batch_size=IMAGES))
    return report(loaded_mib, time.perf_counter() - start, len(verdicts), [])


def report(loaded_mib: float, seconds: float, answers: int, errors: list[str]) -> dict[str, Any]:
    return {
        "loaded_mib": round(loaded_mib, 1),
        "seconds": round(seconds, 2),
        "answers": answers,
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
    }


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CASES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "short": lambda _: ask(lambda _: short_prompts(), 16),
    "long-1": lambda _: ask(lambda processor: [*short_prompts(), long_prompt(processor)], 1),
    "long-16": lambda _: ask(lambda processor: [*short_prompts(), long_prompt(processor)], 16),
    "words": lambda _: ask(lambda _: [*short_prompts(), Prompt.ask("box " * WORDS)], 16),
    "images-2": lambda folder: ask(lambda _: about(shown(folder)[:2]), 16),
    "images-engine": lambda folder: ask(lambda _: about(shown(folder)), 16),
    "images-guard": classify,
}

if __name__ == "__main__":
    sys.exit(main())
