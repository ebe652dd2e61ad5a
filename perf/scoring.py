"""Seconds to summarise 4,031 samples under 3 judges for 20 models, all figures with their intervals, on one core.

Run: python perf/scoring.py
Simulated samples in 1,796 clusters, as in HoliSafe-Bench's test split; 60 summaries and 19 comparisons with the first.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import random
import time

from holisafe import Combination, ImageRef, JudgeId, Judgement, Outcome, Sample, Subcategory
from holisafe.metrics import FIGURES, compare, summarise

SAMPLES, CLUSTERS, JUDGES, MODELS = 4031, 1796, 3, 20


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


def main() -> None:
    samples, first = simulate()
    runs = [simulate(seed)[1] for seed in range(JUDGES * MODELS)]
    started = time.process_time()
    summaries = [summarise(samples, run) for run in runs]
    summarised = time.process_time() - started
    started = time.process_time()
    for run in runs[1:MODELS]:
        compare(samples, first, run)
    compared = time.process_time() - started
    figures = len(FIGURES) + sum(len(rates) for groups in summaries[0].by.values() for rates in groups.values())
    print(f"{SAMPLES:,} samples in {CLUSTERS:,} clusters, {figures} figures, one thread; seconds of CPU")
    print(f"{len(runs)} summaries ({MODELS} models, {JUDGES} judges) {summarised:8.2f} s")
    print(f"{MODELS - 1} comparisons {compared:8.2f} s")


if __name__ == "__main__":
    main()
