"""How often a nominal 95 % interval holds the true rate, where samples share images.

Run: python perf/coverage.py
Simulated clusters of 1 to 4 samples whose own rates scatter around the true one (beta-binomial). Compared: the
interval of this package, plain percentiles of the same resamples, and Wilson's interval as if samples were independent.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from holisafe.metrics._bootstrap import interval, resample_rates, wilson
from holisafe.metrics._rates import Sums

REPETITIONS, RESAMPLES = 2000, 1000
CASES = ((500, 0.3), (500, 0.03), (100, 0.3), (100, 0.05), (30, 0.5), (30, 0.1), (10, 0.5), (10, 0.2))


def simulate(generator: np.random.Generator, clusters: int, rate: float) -> Sums:
    sizes = generator.integers(1, 5, size=clusters)
    hits = generator.binomial(sizes, generator.beta(2 * rate, 2 * (1 - rate), size=clusters))
    return Sums(hits[:, None].astype(np.float32), sizes[:, None].astype(np.float32))


def main() -> None:
    print(f"{REPETITIONS} repetitions, {RESAMPLES} resamples each; share of intervals that hold the true rate, in %")
    print(f"{'clusters':>8}{'rate':>7}{'ours':>8}{'percentiles':>13}{'as if independent':>19}")
    for clusters, rate in CASES:
        generator = np.random.default_rng(0)
        held = np.zeros(3)
        for seed in range(REPETITIONS):
            sums = simulate(generator, clusters, rate)
            resampled = resample_rates(sums, resamples=RESAMPLES, seed=seed)
            spans = (
                interval(sums.rates, resampled, sums.clusters.astype(np.float64)),
                np.nanquantile(resampled, [0.025, 0.975], axis=0),
                wilson(sums.rates, sums.counts.astype(np.float64)),
            )
            held += [low[0] <= rate <= high[0] for low, high in spans]
        ours, plain, alone = 100 * held / REPETITIONS
        print(f"{clusters:>8}{rate:>7}{ours:>8.1f}{plain:>13.1f}{alone:>19.1f}")


if __name__ == "__main__":
    main()
