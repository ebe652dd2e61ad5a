"""HoliSafe-Open: the five combinations with drawn images and twins, which comes with this package."""

from __future__ import annotations

from pathlib import Path

from holisafe import datasets
from holisafe.benchmarks._benchmark import Benchmark
from holisafe.benchmarks._five_combinations import IDENTITIES, KINDS, compute
from holisafe.benchmarks._registry import benchmark
from holisafe.datasets import Loaded


def _read(path: Path | None, setting: str) -> Loaded:
    return datasets.read("open" if path is None else path, "test")


HOLISAFE_OPEN = benchmark(
    Benchmark(
        name="holisafe-open",
        title="HoliSafe-Open",
        paper="docs/datasets/open.md",
        size="the test split of HoliSafe-Open",
        licence="Apache-2.0; the drawings carry their own (docs/datasets/open.md)",
        how_to_get="It comes with holisafe-assets.",
        settings=("released",),
        read=_read,
        judge="holisafe",
        protocol="HoliSafe-Open with judge holisafe, the published string match of HoliSafe-Bench; no other original.",
        kinds=KINDS,
        compute=compute,
        identities={name: {**stated, "twin_accuracy": 0} for name, stated in IDENTITIES.items()},
        published=(),
        tells="The same as HoliSafe-Bench, and, by twins, whether a model refuses for the right reason.",
        cannot_tell="Drawn images are symbols: how a model does on photographs does not follow.",
        needs_data=False,
    )
)
