"""HoliSafe-Bench (arXiv 2506.04704; CC-BY-NC-4.0, gated) as a released format, with the tag of the benchmark."""

from __future__ import annotations

from pathlib import Path

from holisafe.datasets import holisafe_bench
from holisafe.datasets._loaded import Loaded
from holisafe.datasets._release_reader import BENCHMARK_TAG, with_tags
from holisafe.datasets._released import released


@released(
    "holisafe-bench",
    title="HoliSafe-Bench",
    splits=("test",),
    description="the five combinations of safe and unsafe images and requests",
    files=("holisafe_bench.json",),
)
def load_holisafe_bench(path: Path, split: str | None) -> Loaded:
    """HoliSafe-Bench: the JSON or Parquet files, or the folder of a Hub snapshot."""
    return with_tags(holisafe_bench.read_path(path, split), **{BENCHMARK_TAG: "holisafe-bench"})
