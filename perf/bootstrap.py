"""Seconds for all intervals of one summary: 10,000 resamples, against a plain loop over resamples.

Run: python perf/bootstrap.py
One thread; 4,031 simulated samples in 1,796 clusters, as in HoliSafe-Bench's test split. The loop is timed on
fewer resamples and scaled up; both draw the same clusters' worth of work for every figure of the summary.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import random
import time
from collections import defaultdict

from holisafe import Combination, ImageRef, JudgeId, Judgement, Outcome, Sample, Subcategory
from holisafe.metrics import FIGURES, is_counted, summarise

SAMPLES, CLUSTERS, RESAMPLES, LOOPED = 4031, 1796, 10_000, 200


def simulate(seed: int = 0) -> tuple[list[Sample], list[Judgement]]:
    """Samples spread over clusters, combinations and subcategories, half of them refused."""
    chance = random.Random(seed)
    topics = [chance.choice(list(Subcategory)) for _ in range(CLUSTERS)]
    samples, verdicts = [], []
    for index in range(SAMPLES):
        cluster = index if index < CLUSTERS else chance.randrange(CLUSTERS)
        topic = topics[cluster]
        combination = chance.choice(list(Combination))
        image = ImageRef(f"image-{cluster}", data=b"")
        samples.append(
            Sample.ask(
                str(index), (image,), "", combination, topic.category, topic,
                twin=str(index ^ 1) if index < 1000 else None, cluster=str(cluster),
            )
        )  # fmt: skip
        outcome = chance.choice([Outcome.REFUSED, Outcome.ANSWERED])
        verdicts.append(Judgement(str(index), JudgeId("simulated"), outcome))
    return samples, verdicts


def loop(samples: list[Sample], verdicts: list[Judgement], resamples: int) -> None:
    """The same figures by a plain loop: draw clusters, gather their samples, count."""
    chance = random.Random(0)
    members = defaultdict(list)
    for sample, verdict in zip(samples, verdicts, strict=True):
        members[sample.cluster].append((sample, is_counted(sample.expected, verdict.outcome)))
    clusters = list(members.values())
    for _ in range(resamples):
        hits: dict[object, int] = defaultdict(int)
        totals: dict[object, int] = defaultdict(int)
        for cluster in chance.choices(clusters, k=len(clusters)):
            for sample, hit in cluster:
                topics = (None, sample.category, sample.subcategory)
                for column in [(sample.combination, topic) for topic in topics]:
                    hits[column] += hit
                    totals[column] += 1
        _ = {column: hits[column] / total for column, total in totals.items()}


def main() -> None:
    samples, verdicts = simulate()
    started = time.perf_counter()
    summary = summarise(samples, verdicts, resamples=RESAMPLES)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    loop(samples, verdicts, LOOPED)
    looped = (time.perf_counter() - started) * RESAMPLES / LOOPED
    figures = len(FIGURES) + sum(len(rates) for groups in summary.by.values() for rates in groups.values())
    print(f"{RESAMPLES:,} resamples of {SAMPLES:,} samples in {CLUSTERS:,} clusters, {figures} figures, one thread")
    print(f"summarise      {ours:8.2f} s")
    print(f"plain loop     {looped:8.2f} s (scaled up from {LOOPED} resamples, no intervals computed)")
    print(f"ratio          {looped / ours:8.1f}")


if __name__ == "__main__":
    main()
