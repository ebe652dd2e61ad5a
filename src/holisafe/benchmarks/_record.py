"""What runs keep of a benchmark: its figures under each judge, as `run.json` and `--json` hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from holisafe.benchmarks._benchmark import Benchmark, BenchmarkFigure
from holisafe.benchmarks._registry import of_samples
from holisafe.datasets import SETTING_TAG
from holisafe.metrics import unjudged
from holisafe.records import MAX_UNJUDGED, Judgement, Response, Sample

NO_VERDICT = "no_verdict"
"""How the names of figures end that say how many answers have no verdict."""


def benchmark_record(
    samples: Sequence[Sample],
    responses: Sequence[Response],
    judgements: Mapping[str, Sequence[Judgement]],
    max_unjudged: float = MAX_UNJUDGED,
) -> dict[str, Any] | None:
    """`{name, title, setting, judges}`, `judges` with a list of figures each; None where the samples are of none.

    Args:
        samples: What was asked.
        responses: One per sample, in the same order.
        judgements: For each judge by name, one per sample, in the same order.
        max_unjudged: Share of answers without a verdict, in [0, 1], above which of a judge's figures only `no_verdict`
            is kept.
    """
    made = of_samples(samples)
    if made is None:
        return None
    return {
        "name": made.name,
        "title": made.title,
        "setting": samples[0].tags.get(SETTING_TAG),
        "judges": {
            judge: [each.to_json() for each in _figures(made, samples, responses, judged, max_unjudged)]
            for judge, judged in judgements.items()
        },
    }


def _figures(
    made: Benchmark,
    samples: Sequence[Sample],
    responses: Sequence[Response],
    judged: Sequence[Judgement],
    most: float,
) -> list[BenchmarkFigure]:
    found = made.figures(samples, responses, judged)
    if unjudged(responses, judged).share <= most:
        return list(found)
    return [each if each.name.endswith(NO_VERDICT) else replace(each, figure=None) for each in found]
