"""How often the 95 % intervals of corrected rates hold the true rate: writes docs/results/judge-error.md and .json.

Run: python perf/judge_error.py (some minutes, one core)

Simulated: a judge of known sensitivity and specificity on n answers without labels and m with. For the correction of
Lee et al. (arXiv 2511.21140) half of the labelled answers are cases; for prediction-powered inference they are drawn
at random. Beside them Wilson's interval of the judged rate as it is.

Rule, written before the first run: a setting fails where intervals hold the true rate in less than 93 % of 1,000
draws. More than 97 % is called conservative and does not fail. A draw that is refused (Youden's J below 0.5) is
counted apart.

Also simulated: how often the test that models may share one calibration set rejects where the judge errs alike on two
models (type I error), and where its sensitivity on one model is lower by 0.25 (power), with 20, 50 and 200 labels of
each model, half of them cases. "As shipped" is exact where counts are small. Rule, written before the first run: type
I error of the test as shipped is at most 6.5 % of 1,000 draws in every setting (5 % and two standard errors).
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

from holisafe.metrics import ALPHA, Figure, Labelled, corrected_rate, may_share, prediction_powered_rate

PREVALENCES = (0.05, 0.1, 0.3, 0.5, 0.8, 0.95)
JUDGES = ((0.6, 0.95), (0.8, 0.8), (0.8, 0.95), (0.95, 0.8), (0.95, 0.95), (0.99, 0.99))
SIZES = ((500, 100), (500, 400), (4000, 200), (4000, 1000))
DRAWS = 1000
LEAST, MOST = 0.93, 0.97
LEE, PPI, PLAIN = "Lee et al.", "prediction-powered", "as judged"
SHARING_JUDGES = ((0.8, 0.8), (0.8, 0.95), (0.95, 0.95), (0.99, 0.99))
SHARING_LABELS = (20, 50, 200)
LOSS = 0.25
"""How much lower the sensitivity on one model is where the power is measured."""
SHARING, MOST_TYPE_I = "sharing", 0.065
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


def measure_sharing(judge: tuple[float, float], labels: int, seed: int) -> dict[str, Any]:
    """How often the test rejects, as shipped and by the normal approximation alone."""
    generator = np.random.default_rng(seed)
    truth = np.arange(labels) < labels // 2
    lower = (judge[0] - LOSS, judge[1])
    found: dict[str, list[bool]] = {"type_i": [], "type_i_normal": [], "power": [], "power_normal": []}
    for _ in range(DRAWS):
        alike = {f"{at}": Labelled.of(truth, draw(generator, truth, *judge)) for at in range(2)}
        other = {**alike, "0": Labelled.of(truth, draw(generator, truth, *lower))}
        for name, drawn in (("type_i", alike), ("power", other)):
            found[name].append(_rejects(drawn, None))
            found[f"{name}_normal"].append(_rejects(drawn, False))
    setting = {"method": SHARING, "sensitivity": judge[0], "specificity": judge[1], "labels": labels}
    return {**setting, **{name: round(float(np.mean(values)), 4) for name, values in found.items()}}


def _rejects(by_model: dict[str, Labelled], exact: bool | None) -> bool:
    found = may_share(by_model, exact=exact)
    ps = sorted(p for p in (found.p_sensitivity, found.p_specificity, found.p_youden) if p is not None)
    return min(p * (len(ps) - at) for at, p in enumerate(ps)) < ALPHA


def page(rows: list[dict[str, Any]]) -> str:
    """The page in Markdown."""
    rates = [row for row in rows if row["method"] != SHARING]
    shared = [row for row in rows if row["method"] == SHARING]
    return "\n".join([*_head(rates), *_sharing(shared), *_tables(rates)]) + "\n"


def _sharing(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield from ("", "## May models share one calibration set?", "")
    yield from textwrap.wrap(
        f"How often the test rejects, in % of {DRAWS:,} draws: *type I error* where the judge errs alike on "
        f"two models, *power* where its sensitivity on one is lower by {LOSS:g}. Half of the labels of each model are "
        "cases. *As shipped* is exact where an expected count is below 5; *normal* is the approximation alone. The "
        f"level is {100 * ALPHA:g} %; the rule, written before the first run, is a type I error of at most "
        f"{100 * MOST_TYPE_I:g} % as shipped, and what is above is in bold. Holm's correction over three tests that "
        f"overlap makes either kind cautious{_level_of_normal(rows)}.",
        110,
    )
    yield ""
    yield "| labels | sensitivity | specificity | type I as shipped | normal | power as shipped | normal |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        levels = [row["type_i"], row["type_i_normal"]]
        shown = [f"**{100 * level:.1f}**" if level > MOST_TYPE_I else f"{100 * level:.1f}" for level in levels]
        shown += [f"{100 * row[name]:.1f}" for name in ("power", "power_normal")]
        setting = (row["labels"], f"{row['sensitivity']:g}", f"{row['specificity']:g}")
        yield f"| {' | '.join(map(str, (*setting, *shown)))} |"


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


def _level_of_normal(rows: list[dict[str, Any]]) -> str:
    kept = all(row["type_i_normal"] <= MOST_TYPE_I for row in rows)
    return ": the approximation keeps the level in these settings too, but need not in others" if kept else ""


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
    parser.add_argument("--only-sharing", action="store_true", help="keep the rates that are in judge-error.json")
    args = parser.parse_args()
    out = args.out
    if args.only_sharing:
        there = json.loads((out / "judge-error.json").read_text(encoding="utf-8"))
        rows = [row for row in there if row["method"] != SHARING]
    else:
        rows = [
            row
            for seed, (prevalence, judge, sizes) in enumerate(product(PREVALENCES, JUDGES, SIZES))
            for row in measure(prevalence, judge, sizes, seed)
        ]
    settings = enumerate(product(SHARING_LABELS, SHARING_JUDGES))
    rows += [measure_sharing(judge, labels, seed) for seed, (labels, judge) in settings]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (out / "judge-error.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    (out / "judge-error.md").write_text(page(rows), encoding="utf-8")
    print(page(rows).split("\n## n = ")[0])


if __name__ == "__main__":
    main()
