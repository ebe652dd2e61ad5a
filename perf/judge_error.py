"""How often the 95 % intervals of corrected rates hold the true rate: writes docs/results/judge-error.md and .json.

Run: python perf/judge_error.py (some minutes, one core)

Simulated: a judge of known sensitivity and specificity on n answers without labels and m with. For the correction of
Lee et al. (arXiv 2511.21140) half of the labelled answers are cases; for prediction-powered inference they are drawn
at random. Beside them Wilson's interval of the judged rate as it is.

Rule, written before the first run: a setting fails where intervals hold the true rate in less than 93 % of 1,000
draws. More than 97 % is called conservative and does not fail. A draw that is refused (Youden's J below 0.5) is
counted apart.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from holisafe.metrics import Figure, Labelled, corrected_rate, prediction_powered_rate

PREVALENCES = (0.05, 0.1, 0.3, 0.5, 0.8, 0.95)
JUDGES = ((0.6, 0.95), (0.8, 0.8), (0.8, 0.95), (0.95, 0.8), (0.95, 0.95), (0.99, 0.99))
SIZES = ((500, 100), (500, 400), (4000, 200), (4000, 1000))
DRAWS = 1000
LEAST, MOST = 0.93, 0.97
LEE, PPI, PLAIN = "Lee et al.", "prediction-powered", "as judged"
PLACE = Path(__file__).parents[1] / "docs" / "results"

Bools = npt.NDArray[np.bool_]


def draw(generator: np.random.Generator, truth: Bools, sensitivity: float, specificity: float) -> Bools:
    """The verdicts of a judge on answers of which the truth is known."""
    chance = generator.random(len(truth))
    return np.where(truth, chance < sensitivity, chance >= specificity)


def wilson(judged: Bools) -> Figure:
    """The judged rate with Wilson's interval."""
    count, n = int(judged.sum()), len(judged)
    ends = stats.binomtest(count, n).proportion_ci(method="wilson")
    return Figure(count / n, float(ends.low), float(ends.high), n)


def measure(prevalence: float, judge: tuple[float, float], sizes: tuple[int, int], seed: int) -> list[dict[str, Any]]:
    """Coverage, mean width and refusals of each method in one setting."""
    generator = np.random.default_rng(seed)
    held: dict[str, list[bool]] = {LEE: [], PPI: [], PLAIN: []}
    widths: dict[str, list[float]] = {LEE: [], PPI: [], PLAIN: []}
    n, m = sizes
    for _ in range(DRAWS):
        judged = draw(generator, generator.random(n) < prevalence, *judge)
        by_class, by_chance = np.arange(m) < m // 2, generator.random(m) < prevalence
        found = {
            LEE: corrected_rate(judged, Labelled.of(by_class, draw(generator, by_class, *judge))).figure,
            PPI: prediction_powered_rate(judged, Labelled.of(by_chance, draw(generator, by_chance, *judge))).figure,
            PLAIN: wilson(judged),
        }
        for method, figure in found.items():
            if figure is not None:
                held[method].append(figure.low <= prevalence <= figure.high)
                widths[method].append(figure.high - figure.low)
    setting = {"prevalence": prevalence, "sensitivity": judge[0], "specificity": judge[1], "n": n, "m": m}
    return [
        {
            **setting,
            "method": method,
            "coverage": round(float(np.mean(held[method])), 4),
            "width": round(float(np.mean(widths[method])), 4),
            "refused": DRAWS - len(held[method]),
        }
        for method in held
    ]


def page(rows: list[dict[str, Any]]) -> str:
    """The page in Markdown."""
    return "\n".join([*_head(rows), *_tables(rows)]) + "\n"


def _head(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "# Error of a judge: how often corrected intervals hold the true rate"
    yield ""
    yield from textwrap.wrap(
        f"`python perf/judge_error.py`: {DRAWS:,} draws of each setting: n answers without labels, m with. A setting "
        f"*fails* below {100 * LEAST:.0f} % coverage of the nominal 95 % intervals and is *conservative* above "
        f"{100 * MOST:.0f} %. The rule was written before the first run. *As judged* is Wilson's interval of the "
        "judged rate, uncorrected. Draws in which Youden's J of the labelled answers is below 0.5 are refused by the "
        "correction of Lee et al., and not counted in its coverage: where J is close to 0.5, what is left is a "
        "selection.",
        110,
    )
    yield ""
    yield "| method | settings | fail | 93 to 97 % | conservative | least | most | mean width | refused draws |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for method in (LEE, PPI, PLAIN):
        some = [row for row in rows if row["method"] == method]
        shares = np.array([row["coverage"] for row in some])
        cells = [
            len(some),
            int((shares < LEAST).sum()),
            int(((shares >= LEAST) & (shares <= MOST)).sum()),
            int((shares > MOST).sum()),
            f"{100 * shares.min():.1f}",
            f"{100 * shares.max():.1f}",
            f"{np.mean([row['width'] for row in some]):.3f}",
            sum(row["refused"] for row in some),
        ]
        yield f"| {method} | {' | '.join(map(str, cells))} |"


def _tables(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "Below: coverage in % of Lee et al. / prediction-powered / as judged, by true rate; failures in bold."
    for n, m in SIZES:
        yield from ("", f"## n = {n:,}, m = {m:,}", "")
        yield f"| sensitivity | specificity | {' | '.join(f'{p:g}' for p in PREVALENCES)} |"
        yield f"| ---: | ---: |{' ---: |' * len(PREVALENCES)}"
        for sensitivity, specificity in JUDGES:
            cells = []
            for prevalence in PREVALENCES:
                setting = (prevalence, sensitivity, specificity, n, m)
                by = {row["method"]: row["coverage"] for row in rows if _setting(row) == setting}
                shown = [f"**{100 * by[k]:.1f}**" if by[k] < LEAST else f"{100 * by[k]:.1f}" for k in (LEE, PPI)]
                cells.append(" / ".join([*shown, f"{100 * by[PLAIN]:.1f}"]))
            yield f"| {sensitivity:g} | {specificity:g} | {' | '.join(cells)} |"


def _setting(row: dict[str, Any]) -> tuple[float, float, float, int, int]:
    return row["prevalence"], row["sensitivity"], row["specificity"], row["n"], row["m"]


def main() -> None:
    """Simulate, print the summary, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PLACE, help="folder to write judge-error.md and .json to")
    out = parser.parse_args().out
    rows = [
        row
        for seed, (prevalence, judge, sizes) in enumerate(product(PREVALENCES, JUDGES, SIZES))
        for row in measure(prevalence, judge, sizes, seed)
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (out / "judge-error.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    (out / "judge-error.md").write_text(page(rows), encoding="utf-8")
    print("\n".join(_head(rows)))


if __name__ == "__main__":
    main()
