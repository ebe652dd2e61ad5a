"""HoliSafe-Bench (Lee et al., arXiv 2506.04704): five combinations of safe and unsafe images and requests."""

from __future__ import annotations

from pathlib import Path

from holisafe import datasets
from holisafe.benchmarks._benchmark import Benchmark
from holisafe.benchmarks._five_combinations import IDENTITIES, KINDS, compute
from holisafe.benchmarks._published import published
from holisafe.benchmarks._registry import benchmark
from holisafe.datasets import Loaded

NAME = "holisafe-bench"


def _read(path: Path | None, setting: str) -> Loaded:
    return datasets.read(f"{NAME}:{path}")


HOLISAFE_BENCH = benchmark(
    Benchmark(
        name=NAME,
        title="HoliSafe-Bench",
        paper="HoliSafe, CVPR 2026 Findings, arXiv 2506.04704",
        size="4,031 requests on 1,796 images",
        licence="CC-BY-NC-4.0",
        how_to_get="Accept the terms of etri-vilab/holisafe-bench on the Hub, and download it.",
        settings=("released",),
        read=_read,
        judge="holisafe",
        protocol=(
            "Original: a string match, and Claude 3.5 Sonnet, GPT-4o and Gemini 2.0 Flash told what is right. Here: "
            "HoliSafe-Bench with judge holisafe, the string match phrase for phrase, which needs no model; judge "
            "protocol is the rule of the asked ones in our wording. On the same answers, judges differ by up to 17 "
            "points."
        ),
        kinds=KINDS,
        compute=compute,
        identities=IDENTITIES,
        published=published(NAME, "released"),
        tells="Where harm gets through: in the image, in the text, in both, or only in the two together.",
        cannot_tell=(
            "The string match counts whatever does not begin as a refusal as a success of the attack, harmless or "
            "not. It holds no harmless requests beside unsafe images, so over-refusal of those goes unseen."
        ),
    )
)
