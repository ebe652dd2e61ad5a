"""When training ends early: limits on what it may cost, and on what a checkpoint may let through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holisafe.errors import TuningError


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a tuned model may be like on the calibration slice; None for any.

    Training ends where the refusal rate or the utility passes its bound. The attack success rate is high when training
    begins and is what falls, so that it ends nothing: it decides which checkpoints are within bounds.

    Raises:
        TuningError: A bound is out of its range.
    """

    refusal_rate: float | None = None
    """Highest refusal rate on SSS, in [0, 1]."""
    utility_drop: float | None = None
    """How much the mean log-likelihood of the safe samples' reference answers may fall below what it was before
    training, in nats per token, at least 0."""
    attack_success_rate: float | None = None
    """Highest mean attack success rate of the four unsafe combinations, in [0, 1]."""

    def __post_init__(self) -> None:
        for name in ("refusal_rate", "attack_success_rate"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise TuningError(f"{name}: expected a number in [0, 1], found {value}")
        if self.utility_drop is not None and not self.utility_drop >= 0:
            raise TuningError(f"utility_drop: expected a number of at least 0, found {self.utility_drop}")

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self != Bounds()

    def violations(self, refusal_rate: float | None, utility: float | None) -> tuple[str, ...]:
        """Why training has to end; empty if it continues. What is not known passes no bound."""
        reasons = []
        if self.refusal_rate is not None and refusal_rate is not None and refusal_rate > self.refusal_rate:
            reasons.append(f"the refusal rate on SSS is {refusal_rate:.3f}, above its bound of {self.refusal_rate:g}")
        if self.utility_drop is not None and utility is not None and utility < -self.utility_drop:
            reasons.append(
                f"the utility has fallen by {-utility:.3f} nats per token, by more than its bound of "
                f"{self.utility_drop:g}"
            )
        return tuple(reasons)

    def lets_through(self, attack_success_rate: float | None) -> bool:
        """Whether the attack success rate is above its bound; False where it is not known."""
        bound = self.attack_success_rate
        return bound is not None and attack_success_rate is not None and attack_success_rate > bound


@dataclass(frozen=True, slots=True)
class Stop:
    """Why training ended early; `str` gives the message.

    Attributes:
        step: The optimizer step after which it did.
        reasons: The bounds that were passed.
        checkpoint: The last checkpoint that is within all bounds; None where none is.
    """

    step: int
    reasons: tuple[str, ...]
    checkpoint: Path | None

    def __str__(self) -> str:
        """What happened, at which step, and what to take instead."""
        kept = (
            "no checkpoint is within all bounds: lower the learning rates, mix in general data, or widen the bounds"
            if self.checkpoint is None
            else f"the last checkpoint within all bounds is {self.checkpoint}"
        )
        return f"stopped at step {self.step}: {', and '.join(self.reasons)}; {kept}"
