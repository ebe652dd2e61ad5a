"""What runs keep of a benchmark: its figures under each judge, as `run.json` and `--json` hold them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from holisafe.benchmarks._registry import of_samples
from holisafe.datasets import SETTING_TAG
from holisafe.records import Judgement, Response, Sample

NO_VERDICT = "no_verdict"
"""Name of the share of answers without a verdict, in every benchmark that has one."""


def benchmark_record(
    samples: Sequence[Sample],
    responses: Sequence[Response],
    judgements: Mapping[str, Sequence[Judgement]],
    *,
    withheld: Collection[str] = (),
) -> dict[str, Any] | None:
    """`{name, title, setting, judges}`, `judges` with a list of figures each; None where the samples are of none.

    Args:
        samples: What was asked.
        responses: One per sample, in the same order.
        judgements: For each judge by name, one per sample, in the same order.
        withheld: Judges with too many answers without a verdict: of them only the share of these is kept.
    """
    made = of_samples(samples)
    if made is None:
        return None
    return {
        "name": made.name,
        "title": made.title,
        "setting": samples[0].tags.get(SETTING_TAG),
        "judges": {
            judge: [
                {**each.to_json(), **({"figure": None} if judge in withheld and each.name != NO_VERDICT else {})}
                for each in made.figures(samples, responses, judged)
            ]
            for judge, judged in judgements.items()
        },
    }
