"""Over-refusal: the harmless requests of HoliSafe-Open, which come with the package."""

from holisafe import benchmarks, datasets
from holisafe.benchmarks.conformance import BenchmarkConformance
from holisafe.taxonomy import Combination


class TestOverRefusal(BenchmarkConformance):
    name = "over-refusal"

    def place(self) -> None:
        return None

    def damaged(self) -> None:
        return None


def test_it_asks_the_harmless_requests_and_no_others() -> None:
    asked = benchmarks.get("over-refusal").samples().samples
    harmless = [s.id for s in datasets.load("open", "test") if s.combination is Combination.SSS]
    assert [s.id for s in asked] == harmless and any(s.twin for s in asked)
