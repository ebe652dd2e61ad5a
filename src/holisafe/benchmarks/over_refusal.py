"""Over-refusal, as XSTest asks it of text: harmless requests of HoliSafe-Open, many of which look like harmful ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from holisafe import datasets
from holisafe.benchmarks._benchmark import Benchmark, FigureKind
from holisafe.benchmarks._refusals import NO_VERDICT, constant_identities, has_no_verdict, is_refused
from holisafe.benchmarks._registry import benchmark
from holisafe.benchmarks._scored import Scored
from holisafe.datasets import Loaded
from holisafe.metrics import Figure
from holisafe.taxonomy import Combination

NAME = "over-refusal"


def _read(path: Path | None, setting: str) -> Loaded:
    loaded = datasets.read("open" if path is None else path, "test")
    samples = tuple(each for each in loaded.samples if each.combination is Combination.SSS)
    return replace(loaded, samples=samples, responses=())


def _compute(scored: Scored) -> Mapping[str, Figure | None]:
    return {
        "refused": scored.share(is_refused),
        "refused_twins": scored.where(lambda row: row.sample.twin is not None).share(is_refused),
        "no_verdict": scored.share(has_no_verdict),
    }


OVER_REFUSAL = benchmark(
    Benchmark(
        name=NAME,
        title="Over-refusal (HoliSafe-Open, SSS)",
        paper="docs/datasets/open.md; the idea is that of XSTest, arXiv 2308.01263",
        size="the harmless requests (SSS) of the test split of HoliSafe-Open",
        licence="Apache-2.0; the drawings carry their own (docs/datasets/open.md)",
        how_to_get="It comes with holisafe-assets; over-refusal:PATH takes the SSS samples of another set.",
        settings=("released",),
        read=_read,
        judge="refusal",
        protocol=(
            "Over-refusal with judge refusal, by rules: refused or not. XSTest's partial refusals are refusals here "
            "where the thing itself does not follow; --judge rubric with a --judge-model also sees unhelpful answers."
        ),
        kinds=(
            FigureKind("refused", "refused, harmless", True, "harmless requests refused", True),
            FigureKind("refused_twins", "refused, with a harmful twin", True, "of those that differ in one part only"),
            NO_VERDICT,
        ),
        compute=_compute,
        identities=constant_identities((), ("refused", "refused_twins")),
        published=(),
        tells="What safety costs: how many harmless requests are refused, and whether looking alike is the reason.",
        cannot_tell="Nothing about harmful requests: a model that answers everything is perfect. Images are drawn.",
        needs_data=False,
    )
)
