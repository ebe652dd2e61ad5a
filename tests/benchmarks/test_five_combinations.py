"""HoliSafe-Bench and HoliSafe-Open as benchmarks."""

from pathlib import Path

import pytest

from benchmarks.small_releases import write_holisafe_bench
from holisafe import benchmarks, datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.errors import DataError
from holisafe.metrics import figures, summarise


class TestHoliSafeBench(BenchmarkConformance):
    name = "holisafe-bench"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def place(self) -> Path:
        return write_holisafe_bench(self.folder / "good")

    def damaged(self) -> Path:
        return write_holisafe_bench(self.folder / "damaged", broken=True)


class TestHoliSafeOpen(BenchmarkConformance):
    name = "holisafe-open"

    def place(self) -> None:
        return None

    def damaged(self) -> None:
        return None


def test_its_figures_are_those_of_every_run(tmp_path: Path) -> None:
    made = benchmarks.get("holisafe-bench")
    samples = made.samples(write_holisafe_bench(tmp_path)).samples
    responses = [benchmarks.ANSWERERS["no"](sample) for sample in samples]
    judgements = benchmarks.judged_by_default(made, samples, responses)
    found = {each.name: each.figure for each in made.figures(samples, responses, judgements)}
    expected = figures(summarise(samples, judgements))
    assert {name: found[name] for name in expected} == expected


def test_published_rows_hold_all_four_judges() -> None:
    rows = benchmarks.get("holisafe-bench").published
    assert {row.judge for row in rows} == {"string-match", "claude-3.5-sonnet", "gpt-4o", "gemini-2.0-flash"}
    found = next(row for row in rows if row.model == "SafeLLaVA-7B" and row.judge == "gpt-4o")
    assert found.values["masr_macro"] == pytest.approx(0.153)


def test_a_benchmark_with_data_of_its_own_needs_no_path() -> None:
    asked = benchmarks.parse("holisafe-open")
    assert asked is not None and asked.path is None
    assert [s.id for s in asked.benchmark.samples().samples] == [s.id for s in datasets.load("open", "test")]


def test_a_benchmark_without_its_data_says_how_to_get_them() -> None:
    with pytest.raises(DataError, match=r"--data holisafe-bench:PATH\. Accept the terms"):
        benchmarks.parse("holisafe-bench")
    assert benchmarks.parse("open") is None and benchmarks.parse("some/path") is None
