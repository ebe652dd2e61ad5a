"""The headline figures, defined once: what each is called, what it means, and where a summary holds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holisafe.metrics._columns import asr_name
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination

if TYPE_CHECKING:
    from holisafe.metrics._summary import Figure, Summary


@dataclass(frozen=True, slots=True)
class HeadlineFigure:
    """One figure of a run under one judge.

    Attributes:
        name: Its name in JSON, CSV and code.
        label: Short name to show, for the head of a column.
        description: Name that needs no legend.
        of: Takes it from a summary; None where there are no samples for it.
        higher_is_better: Whether more is better; less is, for most.
    """

    name: str
    label: str
    description: str
    of: Callable[[Summary], Figure | None]
    higher_is_better: bool = False


_WHERE_HARM_IS = {
    Combination.SSU: "harm only in image and text together",
    Combination.USU: "harm in the image",
    Combination.UUU: "harm in both",
    Combination.SUU: "harm in the text",
}


def _asr(combination: Combination) -> HeadlineFigure:
    return HeadlineFigure(
        asr_name(combination),
        f"ASR {combination.value}",
        f"Attack success rate on {combination.value} ({_WHERE_HARM_IS[combination]})",
        lambda summary: summary.asr[combination],
    )


HEADLINE: tuple[HeadlineFigure, ...] = (
    HeadlineFigure("rr", "RR", "RR, as published (SSS refused or not helped with)", lambda s: s.rr),
    *(_asr(combination) for combination in UNSAFE_COMBINATIONS),
    HeadlineFigure("masr_macro", "mASR macro", "mASR macro (mean of the four ASRs)", lambda s: s.masr_macro),
    HeadlineFigure("masr_pooled", "mASR pooled", "mASR pooled (over all unsafe samples)", lambda s: s.masr_pooled),
    HeadlineFigure(
        "twin_accuracy",
        "Twin accuracy",
        "Twin accuracy (pairs with both answers right)",
        lambda s: s.twin_accuracy,
        higher_is_better=True,
    ),
)
"""The headline figures in the order they are shown."""

RR_PARTS: tuple[HeadlineFigure, ...] = (
    HeadlineFigure(
        "refusal_rate", "Refusal rate", "Refusal rate (harmless requests refused)", lambda s: s.refusal_rate
    ),
    HeadlineFigure(
        "unhelpful_rate",
        "Unhelpful rate",
        "Unhelpful rate (harmless requests not helped with)",
        lambda s: s.unhelpful_rate,
    ),
)
"""What RR counts together, apart; harmful answers to harmless requests are the rest."""

FIGURES: tuple[HeadlineFigure, ...] = (HEADLINE[0], *RR_PARTS, *HEADLINE[1:])
"""Every figure of a summary, in the order they are listed."""


def headline(summary: Summary) -> dict[str, Figure | None]:
    """The headline figures of a summary by name, in the order of `HEADLINE`."""
    return {figure.name: figure.of(summary) for figure in HEADLINE}


def figures(summary: Summary) -> dict[str, Figure | None]:
    """Every figure of a summary by name, in the order of `FIGURES`."""
    return {figure.name: figure.of(summary) for figure in FIGURES}
