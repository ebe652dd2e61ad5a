"""The guard on an answer while it is generated: when it is asked, and how much of the answer may be told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holisafe._enums import parse_enum
from holisafe.errors import ModelError
from holisafe.records import CHECK_EVERY, AnswerCheck, AnswerVerdict


class OutputMode(StrEnum):
    """What a flag on an answer leads to."""

    SCORE = "score"
    """The verdict is reported with the answer."""
    BLOCK = "block"
    """The answer ends with a refusal. Text is told only once it has been judged."""


@dataclass(frozen=True, slots=True)
class OutputGuard:
    """Judge an answer by the hidden states of its tokens; needs a guard with an output head.

    Attributes:
        mode: "score" or "block".
        every: Tokens between two checks, at least 1; the answer's last token is always checked.

    Raises:
        UnknownNameError: There is no such mode.
        ModelError: `every` is no such number.
    """

    mode: OutputMode = OutputMode.SCORE
    every: int = CHECK_EVERY

    def __post_init__(self) -> None:
        """Read the mode's name."""
        object.__setattr__(self, "mode", parse_enum(OutputMode, self.mode))
        if not isinstance(self.every, int) or isinstance(self.every, bool) or self.every < 1:
            raise ModelError(f"every: found {self.every!r}, expected a number of tokens of at least 1")


class AnswerWatch:
    """The checks of one answer.

    Args:
        guard: What was asked for.
        threshold: Probability of harm that flags.
    """

    def __init__(self, guard: OutputGuard, threshold: float) -> None:
        self.verdict = AnswerVerdict((), threshold)
        self._guard = guard

    @property
    def judged(self) -> int:
        """Tokens that have been judged."""
        return self.verdict.checks[-1].tokens if self.verdict.checks else 0

    @property
    def blocks(self) -> bool:
        """Whether a flag ends the answer."""
        return self._guard.mode is OutputMode.BLOCK

    @property
    def has_blocked(self) -> bool:
        """Whether one has."""
        return self.blocks and self.verdict.flagged

    def is_due(self, tokens: int, *, ends: bool) -> bool:
        """Whether the answer is to be judged after so many tokens.

        Args:
            tokens: Tokens that the model has read.
            ends: Whether they are all.
        """
        return tokens > self.judged and (ends or tokens % self._guard.every == 0)

    def add(self, check: AnswerCheck) -> None:
        """Take a check."""
        self.verdict = AnswerVerdict((*self.verdict.checks, check), self.verdict.threshold)
