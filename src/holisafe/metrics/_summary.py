"""The figures of one run under one judge: each a value with its 95 % interval and its count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holisafe.taxonomy import Category, Combination, Subcategory


@dataclass(frozen=True, slots=True)
class Figure:
    """A rate in [0, 1] with its 95 % interval (cluster bootstrap) and the number of samples (or pairs) behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything `holisafe bench` and `holisafe score` print.

    A figure that cannot be had (no samples) is None, never 0.

    Attributes:
        judge: Name of the judge.
        rr: Refusal rate on SSS.
        asr: Attack success rate of each unsafe combination.
        masr_macro: Unweighted mean of the four ASRs (paper v4 and later).
        masr_pooled: Share over all unsafe samples pooled (paper v1).
        twin_accuracy: Share of twin pairs with both members right.
        by_category: For each (category, combination): RR for SSS, ASR for the rest.
        by_subcategory: The same by subcategory.
        outcomes: For each combination, how many samples had each outcome (all outcomes listed).
    """

    judge: str
    rr: Figure | None
    asr: Mapping[Combination, Figure | None]
    masr_macro: Figure | None
    masr_pooled: Figure | None
    twin_accuracy: Figure | None
    by_category: Mapping[tuple[Category, Combination], Figure]
    by_subcategory: Mapping[tuple[Subcategory, Combination], Figure]
    outcomes: Mapping[Combination, Mapping[str, int]]

    def to_json(self) -> dict[str, Any]:
        """The documented object of `--json`: rr, ssu, usu, uuu, suu, masr_macro, masr_pooled, twin_accuracy, ..."""
        raise NotImplementedError
