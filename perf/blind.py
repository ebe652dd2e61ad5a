"""How far blind baselines get on each version of HoliSafe-Open; writes docs/results/blind.md and blind.json.

    python perf/blind.py [--rr 0.10] [--features pocket]

Both versions, splits test and transfer, at the same refusal rate: what a classifier reaches that sees only the
question, or only the image. A test recomputes the part about the question.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from holisafe.blind import BlindReport, blind_baselines
from holisafe.metrics import HEADLINE, figures

OUT = Path(__file__).parents[1] / "docs" / "results"
VERSIONS, SPLITS = ("open@1", "open@2"), ("test", "transfer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rr", type=float, default=0.10, help="refusal rate on harmless requests")
    parser.add_argument("--features", default="pocket", help="features of images: a model, pixels or none")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to")
    options = parser.parse_args()
    rows = [
        row
        for data in VERSIONS
        for split in SPLITS
        for row in measured(blind_baselines(data, split, rr=options.rr, features=options.features), data, split)
    ]
    result = {"rr": options.rr, "features": options.features, "rows": rows}
    (options.out / "blind.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (options.out / "blind.md").write_text(markdown(result), encoding="utf-8")


def measured(report: BlindReport, data: str, split: str) -> list[dict[str, Any]]:
    """One row per baseline: its figures by name."""
    return [
        {
            "data": data,
            "split": split,
            "baseline": baseline.name,
            "figures": {name: each and each.to_json() for name, each in figures(baseline.summary).items()},
        }
        for baseline in report.results[0].baselines
    ]


def markdown(result: dict[str, Any]) -> str:
    """The page."""
    lines = [
        "# Blind baselines on HoliSafe-Open",
        "",
        f"Written by `perf/blind.py`. [Blind baselines](../blind.md) at a refusal rate of at most {result['rr']:.0%}; "
        "rates in %, with 95 % intervals. High attack success rates are good here: the data do not tell by themselves.",
        "",
        "Version 1 gives it away. Most of its USU questions are asked beside no harmless image, so the question alone "
        "tells that they are to be refused. In version 2 each is asked beside harmless images of the same sort "
        "as often as beside unsafe ones. UUU and SUU are unsafe by their words in both.",
        "",
        "| data | split | sees | " + " | ".join(figure.label for figure in HEADLINE) + " |",
        "|---|---|---|" + "--:|" * len(HEADLINE),
    ]
    for row in result["rows"]:
        cells = (cell(row["figures"][figure.name]) for figure in HEADLINE)
        lines.append(f"| `{row['data']}` | {row['split']} | {row['baseline']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure['value']:.1f} ({100 * figure['low']:.0f}–{100 * figure['high']:.0f})"


if __name__ == "__main__":
    main()
