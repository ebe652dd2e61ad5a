"""Several runs of one model on the same samples (seeds, epochs): one row with two kinds of spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from holisafe.errors import DataError
from holisafe.metrics._headline import figures
from holisafe.metrics._paired import Comparison, compare
from holisafe.metrics._paired_tests import PairedTest
from holisafe.metrics._rates import cluster_name
from holisafe.metrics._summary import Figure, Summary, summarise
from holisafe.records import Judgement, Sample


@dataclass(frozen=True, slots=True)
class Repeats:
    """The figures of several runs together.

    Attributes:
        summary: Over the answers of all runs; each figure is the mean of theirs, and its `n` counts samples. All
            answers to one sample are in one cluster, so that the interval is that of the samples, not narrower for
            asking them again. `outcomes` counts all answers.
        between: Standard deviation of each figure between the runs (n - 1 in the denominator); None for one run, or
            where there are no samples.
        runs: How many.
    """

    summary: Summary
    between: Mapping[str, float | None]
    runs: int


def summarise_repeats(
    samples: Sequence[Sample], judgements: Sequence[Sequence[Judgement]], *, by: Sequence[str] | None = None
) -> Repeats:
    """The figures of runs that answered the same samples, under one judge.

    Args:
        samples: What all were asked.
        judgements: For each run, one judgement per sample.
        by: Tags to group by, as in `summarise`.

    Raises:
        DataError: There is no run, or judgements do not belong to the samples one to one.
    """
    if not judgements:
        raise DataError("no run to summarise; expected at least one")
    if len(judgements) == 1:
        alone = summarise(samples, judgements[0], by=by)
        return Repeats(alone, dict.fromkeys(figures(alone)), 1)
    each = [summarise(samples, judged, by=()) for judged in judgements]
    values = {name: [figures(summary)[name] for summary in each] for name in figures(each[0])}
    between = {
        name: float(np.std([figure.value for figure in found if figure], ddof=1)) if all(found) else None
        for name, found in values.items()
    }
    return Repeats(of_samples(summarise(*pooled(samples, judgements), by=by), len(each)), between, len(each))


def compare_repeats(
    samples: Sequence[Sample],
    first: Sequence[Sequence[Judgement]],
    second: Sequence[Sequence[Judgement]],
    *,
    test: PairedTest | str = PairedTest.SCORE,
) -> Comparison:
    """Compare two models on the same samples, each with several runs; `compare` where each has one.

    Runs are paired in their order, and a model of one run is paired with every run of the other. All pairs of one
    sample are in one cluster.

    Args:
        samples: What all runs were asked.
        first: Judgements of each run of the first model.
        second: Judgements of each run of the second.
        test: What gives the p-values.

    Raises:
        DataError: Both have several runs, and not as many; or as `compare`.
    """
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise DataError(
            f"{len(first)} runs cannot be paired with {len(second)}; give as many of both models, or one of one of them"
        )
    pairs = max(len(first), len(second))
    ones, others = (list(runs) * pairs if len(runs) == 1 else list(runs) for runs in (first, second))
    asked, judged = pooled(samples, ones)
    _, other_judged = pooled(samples, others)
    found = compare(asked, judged, other_judged, test=test)
    differences = {
        name: replace(each, n=each.n // pairs) if each is not None else None for name, each in found.differences.items()
    }
    return replace(found, differences=differences)


def of_samples(summary: Summary, runs: int) -> Summary:
    """The summary with the number of samples, not of answers, in each `n`."""

    def once(figure: Figure | None) -> Figure | None:
        return replace(figure, n=figure.n // runs) if figure is not None else None

    return replace(
        summary,
        rr=once(summary.rr),
        refusal_rate=once(summary.refusal_rate),
        unhelpful_rate=once(summary.unhelpful_rate),
        asr={kind: once(figure) for kind, figure in summary.asr.items()},
        masr_macro=once(summary.masr_macro),
        masr_pooled=once(summary.masr_pooled),
        twin_accuracy=once(summary.twin_accuracy),
        by={
            tag: {
                value: {rate: replace(figure, n=figure.n // runs) for rate, figure in rates.items()}
                for value, rates in groups.items()
            }
            for tag, groups in summary.by.items()
        },
    )


def pooled(
    samples: Sequence[Sample], judgements: Sequence[Sequence[Judgement]]
) -> tuple[list[Sample], list[Judgement]]:
    """Samples and judgements of all runs under ids of their own, `RUN:ID`, in the clusters of the samples."""
    asked, judged = [], []
    for at, found in enumerate(judgements):
        asked += [
            replace(
                sample,
                id=f"{at}:{sample.id}",
                cluster=cluster_name(sample),
                twin=None if sample.twin is None else f"{at}:{sample.twin}",
            )
            for sample in samples
        ]
        judged += [replace(judgement, sample_id=f"{at}:{judgement.sample_id}") for judgement in found]
    return asked, judged
