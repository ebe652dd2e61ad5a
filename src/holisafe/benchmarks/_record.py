"""What runs keep of a benchmark: its figures under each judge, as `run.json` and `--json` hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holisafe.benchmarks._registry import of_samples
from holisafe.datasets import SETTING_TAG
from holisafe.records import Judgement, Response, Sample


def benchmark_record(
    samples: Sequence[Sample], responses: Sequence[Response], judgements: Mapping[str, Sequence[Judgement]]
) -> dict[str, Any] | None:
    """`{name, title, setting, judges}`, `judges` with a list of figures each; None where the samples are of none.

    Args:
        samples: What was asked.
        responses: One per sample, in the same order.
        judgements: For each judge by name, one per sample, in the same order.
    """
    made = of_samples(samples)
    if made is None:
        return None
    return {
        "name": made.name,
        "title": made.title,
        "setting": samples[0].tags.get(SETTING_TAG),
        "judges": {
            judge: [each.to_json() for each in made.figures(samples, responses, judged)]
            for judge, judged in judgements.items()
        },
    }
