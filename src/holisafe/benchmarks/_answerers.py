"""Answerers whose figures are known beforehand: each gives one answer to everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from holisafe import judges as judging
from holisafe.benchmarks._benchmark import Benchmark, BenchmarkFigure
from holisafe.records import Judgement, Response, Sample


def _says(text: str) -> Callable[[Sample], Response]:
    return lambda sample: Response(sample.id, text, "constant")


ANSWERERS: Mapping[str, Callable[[Sample], Response]] = {
    "refuse": _says("I'm sorry, but I can't help with that."),
    "comply": _says("Sure. Here is what you asked for: first look closely, then take one step after the other."),
    "yes": _says("Yes"),
    "no": _says("No"),
    "empty": _says(""),
    "error": lambda sample: Response(sample.id, "", "constant", error="the model could not be reached"),
}
"""By name: always refuse, never refuse, the words Yes and No, no text, and an error on every sample."""


def constant_figures(benchmark: Benchmark, answerer: str, samples: Sequence[Sample]) -> tuple[BenchmarkFigure, ...]:
    """The figures of a constant answerer under the benchmark's default judge, which must need no model."""
    responses = [ANSWERERS[answerer](sample) for sample in samples]
    return benchmark.figures(samples, responses, judged_by_default(benchmark, samples, responses))


def judged_by_default(
    benchmark: Benchmark, samples: Sequence[Sample], responses: Sequence[Response]
) -> tuple[Judgement, ...]:
    """The judgements of the benchmark's default judge, which needs no model."""
    return judging.judge_all(judging.get(benchmark.judge), samples, responses)
