"""The plots of the ablations.

No program of its own; research.ablations.page.py calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holisafe.taxonomy import Combination
from research.ablations.arms import ARMS, UNTUNED

PANELS = {"mASR (%), lower is better": "masr_macro", "refusal rate on SSS (%), lower is better": "rr",
          "twin accuracy (%), higher is better": "twin_accuracy",
          "F1 of image verdicts (%), higher is better": "f1"}  # fmt: skip
COLOUR = "#1f5fa8"
OTHER = "#c2571a"


def draw_question(found: Mapping[str, Any], arms: Sequence[str], path: Path) -> None:
    """A row for each arm: a dot for all seeds with its interval, small ones for each seed."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(13, 1.7 + 0.42 * len(arms)), layout="constrained")
    axes = canvas.subplots(1, len(PANELS), sharey=True)
    for panel, (title, figure) in zip(axes, PANELS.items(), strict=True):
        for place, arm in enumerate(arms):
            each = found["arms"][arm]
            seeds = [100 * seed[figure] for seed in each["by_seed"] if seed[figure] is not None]
            if not seeds:
                continue
            rate = each["rates"].get(figure)
            mean = sum(seeds) / len(seeds) if rate is None else 100 * rate["value"]
            whiskers = None if rate is None else [[mean - 100 * rate["low"]], [100 * rate["high"] - mean]]
            panel.errorbar([mean], [place], xerr=whiskers, fmt="o", color=_colour(arm), capsize=3, markersize=6)
            panel.plot(seeds, [place + 0.24] * len(seeds), "|", color="0.35", markersize=7)
        panel.set(xlabel=title, xlim=(-3, 103), ylim=(len(arms) - 0.4, -0.6))
        panel.set_yticks(range(len(arms)), [_label(arm) for arm in arms])
        panel.grid(axis="x", color="0.88")
        panel.set_axisbelow(True)
    canvas.suptitle(
        "Bars: 95 % intervals over samples; where they overlap, the paired test may still tell two runs apart. Ticks "
        "below: single seeds.", fontsize="small",
    )  # fmt: skip
    canvas.savefig(path, dpi=130)


def draw_coverage(found: Mapping[str, Any], arms: Sequence[str], path: Path) -> None:
    """Refusal rate and attack success rates of each arm as a map, with each seed's; framed what it was trained on."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.patches import Rectangle

    columns = {Combination.SSS: "rr", **{c: c.value.lower() for c in Combination if not c.is_safe}}
    canvas = Canvas(figsize=(9, 1.9 + 0.62 * len(arms)), layout="constrained")
    axes = canvas.subplots()
    compared = found["questions"]["coverage"]["compared"]
    values = [[_value(found, arm, rate) for rate in columns.values()] for arm in arms]
    axes.imshow(
        [[float("nan") if value is None else value for value in row] for row in values],
        cmap="Oranges", vmin=0, vmax=100, aspect="auto",
    )  # fmt: skip
    for place, (arm, row) in enumerate(zip(arms, values, strict=True)):
        trained = frozenset() if arm == UNTUNED else ARMS[arm].combinations or frozenset(Combination)
        for column, ((combination, rate), value) in enumerate(zip(columns.items(), row, strict=True)):
            difference = compared[arm]["differences"][rate] if arm in compared else None
            seeds = ", ".join(f"{100 * seed[rate]:.0f}" for seed in found["arms"][arm]["by_seed"] if value is not None)
            star = "*" if difference is not None and difference["clear"] else ""
            shown = "–" if value is None else f"{value:.0f}{star}\n({seeds})"
            colour = "white" if value is not None and value > 78 else "black"
            axes.text(column, place, shown, ha="center", va="center", color=colour)
            if combination in trained:
                frame = Rectangle((column - 0.46, place - 0.43), 0.92, 0.86, fill=False, edgecolor=COLOUR, linewidth=2)
                axes.add_patch(frame)
    names = ["RR on SSS" if c.is_safe else f"ASR of {c.value}" for c in columns]
    axes.set_xticks(range(len(columns)), names)
    axes.set_yticks(range(len(arms)), [_label(arm) for arm in arms])
    axes.set_title(
        "In %, lower is better; single seeds in brackets. * clearly unlike the reference. Blue frame: trained on it.",
        fontsize="small",
    )
    canvas.savefig(path, dpi=130)


def _value(found: Mapping[str, Any], arm: str, rate: str) -> float | None:
    figure = found["arms"][arm]["rates"][rate]
    return None if figure is None else 100 * float(figure["value"])


def _label(arm: str) -> str:
    return "before tuning" if arm == UNTUNED else arm


def _colour(arm: str) -> str:
    return COLOUR if arm not in (UNTUNED, "reference") else OTHER
