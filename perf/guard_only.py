"""Images per second when only the verdict is wanted, against a full prefill, an answer, and guard models.

    python perf/guard_only.py [--batch 16] [--rounds 20] [--question 64] [--tokens 32]
    python perf/guard_only.py --arch qwen2.5-vl-7b --device cuda --dtype bfloat16 --against-guard-models

Ways of the guarded model: guard only with the projector's features (the language model does not run), guard only with
the language model's (one prompt of the image and 8 tokens of chat template), the prefill of a question about the
image with its verdict, and a whole answer.

With `--against-guard-models`, in the same rounds, the architectures of two guard models with random weights:

- ShieldGemma 2 4B: one prompt per image and policy, of 256 visual tokens and 130 of text (its published instruction
  with one of its policies), read once; a policy at a time, and its three.
- LlavaGuard 7B (LLaVA-OneVision): a 640 × 480 photograph in its usual tiles and 1,000 tokens of text (its default
  policy has some 5,700 characters); only the first token of its verdict, and 100 tokens of rating, category and
  rationale. What is compared with is the first: it is not a verdict yet, and kinder than its use.

All get ready tensors: reading and resizing images is not counted, but for Pocket in the last line, which starts from
decoded 256 × 256 images. Ratios are medians of the rounds' with 95 % intervals, of processor time on a CPU, where
others may be at work, and of wall time on a GPU.

The target, at least 5 times the faster guard model, is about a GPU at full size; on a CPU only Pocket's own ways
compare, since a guard model of Pocket's size does not exist. `--tiny` tries the code where there is no GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from architectures import HOSTS, build, prompts
from holisafe.guard import GuardConfig, attach_guard, classify_images, detach_guard, guarded_generate, session
from holisafe.guard.attach import find_observer
from holisafe.guard.classify import classify_inputs
from paired import Way, machine, machine_name, median_ratio, rounds, write

RESULTS = Path(__file__).parent / "results"
TEMPLATE, SHIELDGEMMA, LLAVAGUARD = 8, 130, 1000
"""Text tokens of prompts: a chat template around an image, ShieldGemma's instruction, LlavaGuard's policy."""

BASES = ("guard only, projector", "guard only, language")


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    host = build(options.arch, device=device, dtype=dtype, tiny=options.tiny)
    ways = _host_ways(host, options)
    if options.against_guard_models:
        ways |= _shieldgemma_ways(build("shieldgemma-2-4b", device=device, dtype=dtype, tiny=options.tiny), options)
        ways |= _llavaguard_ways(build("llavaguard-7b", device=device, dtype=dtype, tiny=options.tiny), options)
    if options.arch == "pocket":
        ways |= _from_pictures(host, options)
    taken = rounds(ways, options.rounds, device, "images")
    result = {
        "benchmark": "guard_only",
        "machine": machine(device),
        "model": options.arch + (" (tiny)" if options.tiny else ""),
        "dtype": options.dtype,
        "images_at_once": options.batch,
        "question_tokens": options.question,
        "answer_tokens": options.tokens,
        "rounds": options.rounds,
        "ways": {
            name: {
                "images_per_s": round(options.batch / float(np.median([each.wall for each in taken[name]])), 3),
                "images_per_processor_s": round(
                    options.batch / float(np.median([each.processor for each in taken[name]])), 3
                ),
                # a GPU's work does not show in processor time
                "slower_than": {
                    base: median_ratio(*([_clock(device, each) for each in taken[way]] for way in (name, base)))
                    for base in BASES
                },
            }
            for name in ways
        },
    }
    print(_table(result))
    if not options.tiny:
        name = f"guard_only_{options.arch}_{machine_name(device)}.json"
        write(options.out or RESULTS / name, result)


def _host_ways(model: Any, options: Any) -> dict[str, Way]:
    """Guard only, prefill and answer of a model that carries a guard."""
    short = prompts(model, options.batch, TEMPLATE)
    question = prompts(model, options.batch, options.question)

    def guard(features: Any) -> None:
        if find_observer(model) is not None:
            detach_guard(model)
        attach_guard(model, GuardConfig.paper(features=features))

    @torch.no_grad()
    def prefill() -> None:
        with session(model, question) as watched:
            model(**watched.inputs, use_cache=True, logits_to_keep=1)
            watched.verdicts()

    def answer() -> None:
        guarded_generate(model, question, max_new_tokens=options.tokens, do_sample=False)

    projector, language = BASES
    return {
        projector: Way(lambda: classify_inputs(model, short), lambda: guard("projector")),
        language: Way(lambda: classify_inputs(model, short), lambda: guard("language")),
        f"prefill of a question of {options.question} tokens": Way(prefill, lambda: guard("language")),
        f"answer of {options.tokens} tokens": Way(answer, lambda: guard("language")),
    }


def _shieldgemma_ways(model: Any, options: Any) -> dict[str, Way]:
    one, three = (prompts(model, options.batch * policies, SHIELDGEMMA) for policies in (1, 3))

    @torch.no_grad()
    def read(inputs: dict[str, Any]) -> None:
        model(**inputs, use_cache=False, logits_to_keep=1).probabilities.tolist()

    return {
        "ShieldGemma 2 4B, one policy": Way(lambda: read(one)),
        "ShieldGemma 2 4B, three policies": Way(lambda: read(three)),
    }


def _llavaguard_ways(model: Any, options: Any) -> dict[str, Way]:
    inputs = prompts(model, options.batch, LLAVAGUARD)

    def answer(tokens: int) -> None:
        model.generate(**inputs, max_new_tokens=tokens, do_sample=False)

    return {
        "LlavaGuard 7B, first token": Way(lambda: answer(1)),
        "LlavaGuard 7B, 100 tokens": Way(lambda: answer(100)),
    }


def _from_pictures(model: Any, options: Any) -> dict[str, Way]:
    """Guard only from decoded images on, as `classify_images` does it."""
    from holisafe.models.pocket import load_pocket

    processor = load_pocket()[1]
    noise = np.random.default_rng(0).integers(256, size=(options.batch, 256, 256, 3), dtype=np.uint8)
    pictures = [Image.fromarray(each) for each in noise]

    def guard() -> None:
        if find_observer(model) is not None:
            detach_guard(model)
        attach_guard(model, GuardConfig.paper(features="projector"))

    def classify() -> None:
        list(classify_images(model, pictures, processor=processor, batch_size=options.batch))

    return {"guard only, projector, from decoded images": Way(classify, guard)}


def _clock(device: torch.device, seconds: Any) -> float:
    return float(seconds.wall if device.type == "cuda" else seconds.processor)


def _table(result: dict[str, Any]) -> str:
    about = result["machine"]
    lines = [
        f"{result['model']}, {result['dtype']}, {about.get('gpu', about['processor'])}, "
        f"{result['images_at_once']} images at once, {result['rounds']} rounds",
        "",
        "| way | images/s | images per processor second | times the projector's time | times the language model's |",
        "|---|---|---|---|---|",
    ]
    for name, found in result["ways"].items():
        times = [f"{r['ratio']:.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in found["slower_than"].values()]
        lines.append(
            f"| {name} | {found['images_per_s']:.2f} | {found['images_per_processor_s']:.2f} | {' | '.join(times)} |"
        )
    return "\n".join(lines)


def _options() -> Any:
    parser = argparse.ArgumentParser(description="Images per second of guard-only classification.")
    parser.add_argument("--arch", choices=HOSTS, default="pocket")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--batch", type=int, default=16, help="images at once")
    parser.add_argument("--question", type=int, default=64, help="text tokens of a question")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--against-guard-models", action="store_true", help="ShieldGemma 2 4B and LlavaGuard 7B too")
    parser.add_argument("--tiny", action="store_true", help="two narrow layers; nothing is recorded")
    parser.add_argument("--out", type=Path, help="where to record; perf/results/ when left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
