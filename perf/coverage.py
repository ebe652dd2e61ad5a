"""How often nominal 95 % intervals hold the true value, where samples share images: writes docs/results/coverage.md.

Run: python perf/coverage.py (some minutes, one core)

Simulated: images of 1 to 4 questions from two of the five combinations each; the hits on an image are beta-binomial
around the true rate. Twin pairs: 1 to 4 pairs share images. Two runs: on half of the images the second answers as the
first; on the others its answers are drawn anew, on half of these from a rate of its own.

Rule, written before the first run: a setting fails where intervals hold the true value in less than 93 % of 1,000
draws, or where more than 3.5 % of them lie below it. More than 98 % is called conservative and does not fail: with few
hits, counts are too coarse to come closer.
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from holisafe.metrics._intervals import difference_intervals, rate_intervals

RATES, SIZES, DRAWS, BLOCK, RESAMPLES = (0.002, 0.005, 0.02, 0.1, 0.5, 0.98), (40, 200, 800), 1000, 250, 1000
CORRELATION, OTHER_CORRELATIONS = 1 / 3, (0.02, 0.8)
LEAST, MOST, MOST_BELOW = 0.93, 0.98, 0.035
OURS, KORN_GRAUBARD, BOOTSTRAP = "holisafe", "Korn–Graubard", "bootstrap"
PLACE = Path(__file__).parents[1] / "docs" / "results"

Floats = npt.NDArray[np.float64]
Ends = tuple[Floats, Floats]


@dataclass(frozen=True)
class Layout:
    """Which image and which combination each sample has; (samples,) both, in the order of image and combination."""

    images: npt.NDArray[np.int64]
    combinations: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many images there are."""
        return int(self.images.max()) + 1

    def sums(self, values: npt.NDArray[Any]) -> Floats:
        """(draws, samples) to (images, draws, combinations)."""
        places = self.images * 5 + self.combinations
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        found = np.zeros((len(values), self.count * 5))
        found[:, places[starts]] = np.add.reduceat(values.astype(np.float64), starts, axis=1)
        return np.moveaxis(found.reshape(len(values), self.count, 5), 0, 1)


def requests(generator: np.random.Generator, size: int) -> Layout:
    """About `size` samples of each combination."""
    images = np.repeat(np.arange(2 * size), generator.integers(1, 5, 2 * size))
    pairs = generator.permuted(np.tile(np.arange(5), (2 * size, 1)), axis=1)[:, :2]
    combinations = pairs[images, generator.integers(0, 2, len(images))]
    order = np.lexsort((combinations, images))
    return Layout(images[order], combinations[order])


def twin_pairs(generator: np.random.Generator, size: int) -> Layout:
    """About `size` pairs, 1 to 4 for each group of images."""
    images = np.repeat(np.arange(2 * size // 5), generator.integers(1, 5, 2 * size // 5))
    return Layout(images, np.zeros_like(images))


@dataclass(frozen=True)
class Case:
    """Simulated draws of one figure: sums within images, (images, draws, parts); losses for differences only."""

    figure: str
    truth: float
    hits: Floats
    totals: Floats  # (images, parts)
    losses: Floats | None = None


def cases(
    generator: np.random.Generator, rate: float, layouts: tuple[Layout, Layout], correlation: float
) -> Iterator[Case]:
    """A block of draws of every figure at one rate."""

    def own_rates(layout: Layout, mean: float) -> Floats:
        spread = 1 / correlation - 1
        return generator.beta(mean * spread, (1 - mean) * spread, (BLOCK, layout.count))

    layout, pairs = layouts
    totals = layout.sums(np.ones((1, len(layout.images))))[:, 0]
    own = own_rates(layout, rate)[:, layout.images]
    first = generator.random(own.shape) < own
    hits = layout.sums(first)
    yield Case("RR", rate, hits[:, :, :1], totals[:, :1])
    yield Case("ASR", rate, hits[:, :, 1:2], totals[:, 1:2])
    yield Case("mASR macro", rate, hits[:, :, 1:], totals[:, 1:])
    of_pairs = own_rates(pairs, rate)[:, pairs.images]
    right = pairs.sums(generator.random(of_pairs.shape) < of_pairs)
    yield Case("twin accuracy", rate, right[:, :, :1], pairs.sums(np.ones((1, len(pairs.images))))[:, 0, :1])
    for label, other in (("no difference", rate), ("a difference", rate / 2 if rate < 0.9 else 0.9)):
        anew, moved = (generator.random((BLOCK, layout.count))[:, layout.images] < 0.5 for _ in range(2))
        own_there = np.where(moved, own_rates(layout, other)[:, layout.images], own)
        second = np.where(anew, generator.random(own.shape) < own_there, first)
        gains, losses = layout.sums(second & ~first), layout.sums(first & ~second)
        truth = 0.25 * (other - rate)
        yield Case(f"ASR, {label}", truth, gains[:, :, 1:2], totals[:, 1:2], losses[:, :, 1:2])
        yield Case(f"mASR macro, {label}", truth, gains[:, :, 1:], totals[:, 1:], losses[:, :, 1:])


def ours(case: Case) -> Ends:
    """The package's intervals."""
    totals = np.broadcast_to(case.totals[:, None], case.hits.shape)
    if case.losses is None:
        found = rate_intervals(case.hits, totals)
    else:
        found, _ = difference_intervals(case.hits, case.losses, totals)
    return found.lows, found.highs


def wilson(rates: Floats, trials: Floats, quantile: float) -> Ends:
    """Wilson's interval."""
    centre = (rates + quantile**2 / (2 * trials)) / (1 + quantile**2 / trials)
    half = quantile / (1 + quantile**2 / trials) * np.sqrt(rates * (1 - rates) / trials + quantile**2 / (4 * trials**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def korn_graubard(case: Case) -> Ends | None:
    """Wilson's interval with Korn and Graubard's effective n, as Inspect 0.3.285 has it in `ci_wilson(cluster=)`.

    For single rates only. Where all or none are hits, the n is not adjusted.
    """
    if case.losses is not None or case.totals.shape[1] > 1:
        return None
    kept = case.totals[:, 0] > 0
    hits, totals = case.hits[kept, :, 0], case.totals[kept]
    count, images = float(totals.sum()), len(totals)
    rates = hits.sum(axis=0) / count
    variance = ((hits - rates * totals) ** 2).sum(axis=0) / count**2 * images / (images - 1)
    binomial = rates * (1 - rates)
    known = (binomial > 0) & (variance > 0)
    trials = np.minimum(np.divide(binomial, variance, out=np.full_like(rates, count), where=known), count)
    return wilson(rates, trials, float(stats.t.ppf(0.975, images - 1)))


def bootstrap(case: Case, times: Floats) -> Ends:
    """The method of version 0.1: percentiles of resampled images, Wilson's interval where all resamples agree."""
    images, draws, parts = case.hits.shape
    signed = case.hits if case.losses is None else case.hits - case.losses
    drawn = (times @ signed.reshape(images, -1).astype(np.float32)).reshape(len(times), draws, parts)
    totals = times @ case.totals.astype(np.float32)
    resampled = np.sort((drawn / np.maximum(totals, 1)[:, None]).mean(axis=2), axis=0)
    values = (signed.sum(axis=0) / case.totals.sum(axis=0)).mean(axis=1)
    behind = (case.totals > 0).sum(axis=0).astype(np.float64)
    clusters = min(parts**2 / (1 / behind).sum(), float(case.totals.any(axis=1).sum()))
    tail = float(special.ndtr(stats.t.ppf(0.025, clusters - 1) * np.sqrt(clusters / (clusters - 1))))
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    flat = high - low < 1e-9
    z = float(stats.norm.ppf(0.975))
    if case.losses is None:
        flat_low, flat_high = wilson(values, np.full_like(values, clusters), z)
    else:
        flat_high = wilson(np.zeros_like(values), np.full_like(values, clusters), z)[1]
        flat_low = -flat_high
    return np.where(flat, flat_low, low), np.where(flat, flat_high, high)


def measure(correlation: float, methods: Callable[[Case, Floats], dict[str, Ends | None]]) -> list[dict[str, Any]]:
    """Coverage, misses below and mean width in every setting."""
    rows: dict[tuple[str, int, float, str], list[Floats]] = {}
    for size in SIZES:
        generator = np.random.default_rng(size)
        layouts = requests(generator, size), twin_pairs(generator, size)
        for rate in RATES:
            for _ in range(DRAWS // BLOCK):
                for case in cases(generator, rate, layouts, correlation):
                    images = len(case.hits)
                    times = generator.multinomial(images, np.full(images, 1 / images), RESAMPLES).astype(np.float32)
                    for method, ends in methods(case, times).items():
                        if ends is not None:
                            low, high = ends
                            held = (low <= case.truth + 1e-12) & (case.truth - 1e-12 <= high)
                            found = np.stack([held, high < case.truth - 1e-12, high - low])
                            rows.setdefault((case.figure, size, rate, method), []).append(found)
    return [
        {"figure": figure, "samples": size, "rate": rate, "method": method, "correlation": round(correlation, 2)}
        | dict(zip(("coverage", "below", "width"), np.hstack(found).mean(axis=1).round(4).tolist(), strict=True))
        for (figure, size, rate, method), found in rows.items()
    ]


def fails(row: dict[str, Any]) -> bool:
    return bool(row["coverage"] < LEAST or row["below"] > MOST_BELOW)


def summary_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each method and correlation."""
    lines = [
        "| method | correlation | settings | fail | conservative | least coverage | most upper misses |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for method, correlation in dict.fromkeys((row["method"], row["correlation"]) for row in rows):
        own = [row for row in rows if (row["method"], row["correlation"]) == (method, correlation)]
        least, most = min(own, key=lambda row: row["coverage"]), max(own, key=lambda row: row["below"])
        lines.append(
            f"| {method} | {correlation} | {len(own)} | {sum(map(fails, own))} | "
            f"{sum(row['coverage'] > MOST for row in own)} | {_place(least, 'coverage')} | {_place(most, 'below')} |"
        )
    return lines


def _place(row: dict[str, Any], of: str) -> str:
    return f"{100 * row[of]:.1f} ({row['figure']}, {row['samples']} at {row['rate']:g})"


def full_table(rows: list[dict[str, Any]], figure: str) -> list[str]:
    """Coverage and upper misses of one figure, by samples, method and rate."""
    by = {(row["samples"], row["method"], row["rate"]): row for row in rows if row["figure"] == figure}
    lines = [
        "| samples | method | " + " | ".join(f"{rate:g}" for rate in RATES) + " |",
        "| ---: | --- | " + " | ".join("---:" for _ in RATES) + " |",
    ]
    for size, method in dict.fromkeys(key[:2] for key in by):
        own = [by[size, method, rate] for rate in RATES]
        cells = [f"{100 * row['coverage']:.1f} / {100 * row['below']:.1f}" for row in own]
        marked = [f"**{cell}**" if fails(row) else cell for cell, row in zip(cells, own, strict=True)]
        lines.append(f"| {size} | {method} | " + " | ".join(marked) + " |")
    return lines


def page(rows: list[dict[str, Any]]) -> str:
    main = [row for row in rows if row["correlation"] == round(CORRELATION, 2)]
    lines = [
        "# How often the intervals hold the true value",
        "",
        f"`python perf/coverage.py`: {DRAWS:,} draws of each setting, of images with 1 to 4 questions from two",
        "combinations. `correlation` is that of two questions about one image. A setting *fails* where nominal 95 %",
        f"intervals hold the true value in less than {100 * LEAST:g} % of the draws, or where more than "
        f"{100 * MOST_BELOW:g} % of them lie below",
        f"it (*upper misses*). It is *conservative* above {100 * MOST:g} %, which is no failure: few hits are coarse "
        "counts, and tell little",
        "of how alike the questions about one image are. The rule was written before the first run. *Korn–Graubard* is "
        "Inspect's method",
        "(`ci_wilson(cluster=)`), for single rates only; *bootstrap* is what version 0.1 had.",
        "[Decision 0003](../decisions/0003-intervals.md) says why the intervals are as they are.",
        "",
        *summary_table(rows),
        "",
        "Below: coverage / upper misses in %, by samples of each combination and true rate, at correlation "
        f"{CORRELATION:.2f}; failures in",
        "bold. The true difference is a quarter of that between the two runs' rates.",
    ]
    for figure in dict.fromkeys(row["figure"] for row in main):
        lines += ["", f"## {figure}", "", *full_table(main, figure)]
    return "\n".join([*lines, ""])


def main() -> None:
    rows = measure(
        CORRELATION,
        lambda case, times: {OURS: ours(case), KORN_GRAUBARD: korn_graubard(case), BOOTSTRAP: bootstrap(case, times)},
    )
    for correlation in OTHER_CORRELATIONS:
        rows += measure(correlation, lambda case, _: {OURS: ours(case), KORN_GRAUBARD: korn_graubard(case)})
    (PLACE / "coverage.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (PLACE / "coverage.md").write_text(page(rows), encoding="utf-8")
    print("\n".join(summary_table(rows)))
    if failed := [row for row in rows if row["method"] == OURS and fails(row)]:
        raise SystemExit(f"{len(failed)} settings fail: {failed}")


if __name__ == "__main__":
    main()
