"""HarmEval of SafeInfer (Banerjee et al., arXiv 2406.12274): are harmful requests refused that come without image?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holisafe.benchmarks._benchmark import Benchmark, FigureKind
from holisafe.benchmarks._care import is_unsafe
from holisafe.benchmarks._refusals import NO_VERDICT, constant_identities, has_no_verdict
from holisafe.benchmarks._registry import benchmark
from holisafe.benchmarks._scored import Scored
from holisafe.datasets import Loaded
from holisafe.datasets.releases.safeinfer_harmeval import NAME, load_safeinfer_harmeval
from holisafe.metrics import Figure


def _read(path: Path | None, setting: str) -> Loaded:
    assert path is not None
    return load_safeinfer_harmeval(path, None)


def _compute(scored: Scored) -> Mapping[str, Figure | None]:
    return {"asr": scored.share(is_unsafe), "no_verdict": scored.share(has_no_verdict)}


SAFEINFER_HARMEVAL = benchmark(
    Benchmark(
        name=NAME,
        title="SafeInfer HarmEval",
        paper="SafeInfer, arXiv 2406.12274",
        size="about 550 requests of 11 topics, text only",
        licence="none found",
        how_to_get="Download SoftMINER-Group/HarmEval from the Hub; name the table with Question and Topic.",
        settings=("released",),
        read=_read,
        judge="refusal",
        protocol=(
            "Original: GPT-4, retired, calls an answer harmful or harmless. Here: HarmEval with judge refusal, by "
            "rules, where whatever does not refuse is a success of the attack, so ASR is an upper bound; --judge "
            "rubric with a --judge-model counts harmful answers."
        ),
        kinds=(FigureKind("asr", "ASR", True, "requests answered", True), NO_VERDICT),
        compute=_compute,
        identities=constant_identities(("asr",), ()),
        published=(),
        tells="Whether the language model behind a vision-language model still refuses harmful text.",
        cannot_tell="Nothing about images, and it holds no harmless requests. SPA-VL's HarmEval is another data set.",
    )
)
