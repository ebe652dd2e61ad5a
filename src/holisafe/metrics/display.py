"""How figures and values of tags are shown: the mark of few samples, names, and the columns of a table by tag."""

from __future__ import annotations

from holisafe.metrics._columns import ASR, RR, asr_name
from holisafe.metrics._headline import HEADLINE
from holisafe.metrics._summary import FEW, Figure, Summary
from holisafe.records import Behaviour
from holisafe.taxonomy import UNSAFE_COMBINATIONS, Combination

NOT_GIVEN = "not given"
"""Shown in the place of a tag that a sample does not have."""

FEW_MARK = "°"
"""Stands behind a rate of fewer than `FEW` samples."""

FEW_NOTE = f"{FEW_MARK} Fewer than {FEW} samples: read the interval, not the rate."
"""What the mark says."""

_LABELS = {figure.name: figure.label for figure in HEADLINE} | {ASR: "ASR, all"}


def few_mark(figure: Figure) -> str:
    """The mark of a rate of few samples; empty for others."""
    return FEW_MARK if figure.is_few else ""


def group_name(value: str | None) -> str:
    """A tag's value for a reader, e.g. "Illegal activity"."""
    if value is None:
        return NOT_GIVEN
    spaced = value.replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:] if spaced else "(empty)"


def group_columns(summary: Summary) -> dict[str, str]:
    """Rates to show for each value of a tag, with their labels, in order: those that have samples.

    The ASR over all samples to be refused is shown where some of them have no combination: it counts those too.
    """
    present = {part for part, counts in summary.outcomes.items() if any(counts.values())}
    unsafe = [asr_name(combination) for combination in UNSAFE_COMBINATIONS if combination in present]
    harmless = [RR] if {Combination.SSS, Behaviour.ANSWER} & present else []
    return {rate: _LABELS[rate] for rate in (*harmless, *unsafe, *([ASR] if Behaviour.REFUSE in present else []))}
