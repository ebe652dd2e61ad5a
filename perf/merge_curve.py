"""Pocket's language model merged with Safe Pocket's: attack success against refusals over the share c.

    python perf/merge_curve.py --runs FOLDER [--limit 60] [--max-new-tokens 32] [--values 0,.25,.5,.75,1]
                               [--out docs/results/merge-curve.json] [--page docs/results/merge-curve.md]

The sweep is that of `holisafe edit merge pocket --safe pocket-safe --sweep`, which resumes in FOLDER. The figure is
written beside the page. Vision tower and projector stay Pocket's for every c, so c = 1 is not Safe Pocket.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BASE, SAFE = "pocket", "pocket-safe"
LABELS = {
    "refusal_rate": "Refusal rate", "unhelpful_rate": "Unhelpful rate", "ssu": "ASR SSU", "usu": "ASR USU",
    "uuu": "ASR UUU", "suu": "ASR SUU", "masr_macro": "mASR macro", "twin_accuracy": "Twin accuracy",
}  # fmt: skip


def main() -> None:
    """Measure what is not measured yet, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the sweep")
    parser.add_argument("--limit", type=int, default=60, help="samples; each combination keeps its share")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--values", default="0,.25,.5,.75,1")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    command = [
        sys.executable, "-m", "holisafe", "edit", "merge", BASE, "--safe", SAFE, "--sweep", args.values,
        "--limit", str(args.limit), "--max-new-tokens", str(args.max_new_tokens), "--out", str(args.runs), "--json",
    ]  # fmt: skip
    curve = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    page = markdown(curve)
    print(page)
    if args.out:
        args.out.write_text(json.dumps(curve, indent=2) + "\n")
    if args.page:
        args.page.write_text(page)
        draw(curve, args.page.with_suffix(".png"))


def markdown(curve: dict[str, Any]) -> str:
    """The table: a row for each figure, a column for each share."""
    points = curve["points"]
    lines = [
        "# Merging Pocket with Safe Pocket", "", "Written by `perf/merge_curve.py`: its docstring says how.", "",
        "θ = c · Safe Pocket + (1 - c) · Pocket on the language model; tower and projector are Pocket's. "
        f"{curve['limit']} samples of HoliSafe-Open (version 1, test), answers of up to {curve['max_new_tokens']} new "
        f"tokens, judge `{curve['judge']}`; % with 95 % intervals.", "",
        "| figure | " + " | ".join(f"c = {point['strength']:g}" for point in points) + " |",
        "|---" * (len(points) + 1) + "|",
    ]  # fmt: skip
    for name, label in LABELS.items():
        lines.append(f"| {label} | " + " | ".join(_cell(point["figures"][name]) for point in points) + " |")
    return "\n".join([*lines, "", "![mASR against the refusal rate over c](merge-curve.png)", ""])


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure['value']:.1f} ({100 * figure['low']:.0f}–{100 * figure['high']:.0f})"


def draw(curve: dict[str, Any], path: Path) -> None:
    """Attack success against refusals of harmless requests, a point for each share, with its intervals."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
    found = [[point["figures"][name] for point in curve["points"]] for name in ("refusal_rate", "masr_macro")]
    across, up = ([100 * each["value"] for each in row] for row in found)
    spans = [
        [[100 * (each["value"] - each["low"]) for each in row], [100 * (each["high"] - each["value"]) for each in row]]
        for row in found
    ]
    axes.errorbar(across, up, xerr=spans[0], yerr=spans[1], marker="o", color="#1f5fa8", ecolor="#b8c9de", capsize=2)
    shares: dict[tuple[float, float], list[str]] = {}
    for point, x, y in zip(curve["points"], across, up, strict=True):
        shares.setdefault((x, y), []).append(f"{point['strength']:g}")
    for place, names in shares.items():
        label = f"c = {', '.join(names)}"
        axes.annotate(label, place, xytext=(6, 6), textcoords="offset points", fontsize=8)
    axes.set(xlabel="refusals of harmless requests, %", ylabel="mASR macro, %", xlim=(-2, None), ylim=(-2, 112))
    figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main()
