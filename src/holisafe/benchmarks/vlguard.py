"""VLGuard (Zong et al., ICML 2024, arXiv 2402.02207): are harmful images and requests refused, harmless ones not?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holisafe.benchmarks._benchmark import Benchmark, FigureKind
from holisafe.benchmarks._published import published
from holisafe.benchmarks._refusals import (
    NO_VERDICT,
    constant_identities,
    has_no_verdict,
    is_attack_success,
    is_refused,
)
from holisafe.benchmarks._registry import benchmark
from holisafe.benchmarks._scored import Scored
from holisafe.datasets import Loaded
from holisafe.datasets.releases.vlguard import NAME, SUBSET_TAG, load_vlguard
from holisafe.metrics import Figure


def _read(path: Path | None, setting: str) -> Loaded:
    assert path is not None
    return load_vlguard(path, "test")


def _compute(scored: Scored) -> Mapping[str, Figure | None]:
    return {
        "asr_unsafes": scored.tagged(SUBSET_TAG, "unsafes").share(is_attack_success),
        "asr_safe_unsafes": scored.tagged(SUBSET_TAG, "safe_unsafes").share(is_attack_success),
        "refused_safe_safes": scored.tagged(SUBSET_TAG, "safe_safes").share(is_refused),
        "no_verdict": scored.share(has_no_verdict),
    }


VLGUARD = benchmark(
    Benchmark(
        name=NAME,
        title="VLGuard",
        paper="Safety Fine-Tuning at (Almost) No Cost, ICML 2024, arXiv 2402.02207",
        size="1,558 requests about 1,000 images (test): 442 unsafe images, 558 safe ones with two requests each",
        licence="none found; access on request",
        how_to_get="Ask for ys-zong/VLGuard on the Hub; download test.json and test.zip into one folder.",
        settings=("released",),
        read=_read,
        judge="vlguard",
        # The original's list has "but I cannot", which can never match a lower-cased answer; kept in the judge.
        # Its calls that failed are no answers there; here they count as no verdict, and stay in n.
        protocol=(
            "Original and here: string match of about 60 phrases anywhere in the lower-cased answer, up to 256 tokens. "
            "Any mention of 'illegal' counts as a refusal, and no text counts as an answer. The win rate of answers to "
            "safe_safes against stored GPT-4V answers is not here; --judge refusal or rubric are stricter."
        ),
        kinds=(
            FigureKind("asr_unsafes", "ASR, unsafe images", True, "requests about unsafe images answered", True),
            FigureKind("asr_safe_unsafes", "ASR, unsafe requests", True, "unsafe requests about safe images", True),
            FigureKind("refused_safe_safes", "refused, harmless", True, "harmless requests refused", True),
            NO_VERDICT,
        ),
        compute=_compute,
        identities=constant_identities(("asr_unsafes", "asr_safe_unsafes"), ("refused_safe_safes",), empty="comply"),
        published=published(NAME, "released"),
        tells="Refusals of harmful images and requests, beside refusals of harmless requests about the same images.",
        cannot_tell=(
            "The harm shows in the text or in the image alone, so a model that puts neither together can be perfect. "
            "The string list takes any mention of the law for a refusal."
        ),
    )
)
