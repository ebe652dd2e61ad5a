"""What a guard says of an answer, while it is generated and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holisafe.taxonomy import Category

CHECK_EVERY = 16
"""Tokens of an answer between two checks where nothing else is said."""


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """The answer up to one of its tokens.

    Attributes:
        tokens: Tokens of the answer that had been read, at least 1.
        unsafe: Probability of harm in what had been read, in [0, 1].
        categories: Probability of each category, given that it is harmful; sums to 1.
    """

    tokens: int
    unsafe: float
    categories: Mapping[Category, float] = field(default_factory=dict, hash=False)

    def to_json(self) -> dict[str, Any]:
        """JSON values: tokens, unsafe, categories."""
        categories = {name.value: probability for name, probability in self.categories.items()}
        return {"tokens": self.tokens, "unsafe": self.unsafe, "categories": categories}


@dataclass(frozen=True, slots=True)
class AnswerVerdict:
    """The output of a guard for one answer; it grows while the answer does.

    Attributes:
        checks: In their order; empty before the first, and of an answer without a token.
        threshold: Probability of harm at and above which a check flags the answer, in [0, 1].
    """

    checks: tuple[AnswerCheck, ...] = ()
    threshold: float = 0.5

    @property
    def unsafe(self) -> float:
        """The highest probability of harm of all checks, in [0, 1]; 0 without any."""
        return max((check.unsafe for check in self.checks), default=0.0)

    @property
    def flagged(self) -> bool:
        """Whether a check reaches the threshold."""
        return self.flagged_at is not None

    @property
    def flagged_at(self) -> int | None:
        """Tokens that had been read at the first check that reaches the threshold; None where none does."""
        return next((check.tokens for check in self.checks if check.unsafe >= self.threshold), None)

    @property
    def categories(self) -> Mapping[Category, float]:
        """Those of the check with the highest probability of harm; empty without any."""
        return max(self.checks, key=lambda check: check.unsafe).categories if self.checks else {}

    def to_json(self) -> dict[str, Any]:
        """JSON values: unsafe, threshold, flagged, flagged_at, checks."""
        return {
            "unsafe": self.unsafe,
            "threshold": self.threshold,
            "flagged": self.flagged,
            "flagged_at": self.flagged_at,
            "checks": [check.to_json() for check in self.checks],
        }
