"""How many samples a comparison needs: power of two-sided tests of two rates, paired and unpaired.

Paired: both runs answer the same samples (Connor 1987, "Sample size for testing differences in proportions for the
paired-sample design"). Unpaired: each run has samples of its own (the usual formula for two proportions). Both
variances are multiplied by the design effect 1 + (cluster size - 1) · ICC (Kish 1965).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from holisafe.errors import DataError
from holisafe.metrics._students_t import normal_quantile, normal_share

EFFECTS = (0.01, 0.02, 0.03, 0.05, 0.10)
"""Differences that a table shows if none is asked for."""


MOST_SAMPLES = 10**15
"""Samples beyond which nothing is computed."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is assumed of a comparison.

    Attributes:
        rate: Rate of the first run, in (0, 1).
        alpha: Two-sided significance level.
        power: Chance of finding a difference that is there.
        correlation: Correlation of the two runs' hits on one sample, in [0, 1); what pairing gains. Where the rates
            do not allow it, the highest that they allow is taken.
        cluster_size: Samples that share an image.
        icc: Intracluster correlation of hits, in [0, 1].
    """

    rate: float
    alpha: float = 0.05
    power: float = 0.8
    correlation: float = 0.3
    cluster_size: float = 1.0
    icc: float = 0.0

    def __post_init__(self) -> None:
        """Complain of values that mean nothing.

        Raises:
            DataError: Names the value and its range.
        """
        ranges = {
            "rate": (0 < self.rate < 1, "above 0 and below 1"),
            "alpha": (0 < self.alpha < 1, "above 0 and below 1"),
            "power": (self.alpha < self.power < 1, "above alpha and below 1"),
            "correlation": (0 <= self.correlation < 1, "at least 0 and below 1"),
            "cluster size": (1 <= self.cluster_size < math.inf, "at least 1"),
            "icc": (0 <= self.icc <= 1, "from 0 to 1"),
        }
        for name, (holds, words) in ranges.items():
            if not holds:
                value = getattr(self, name.replace(" ", "_"))
                raise DataError(f"{name} is {value!r}; expected a number {words}")

    @property
    def design_effect(self) -> float:
        """By what clusters multiply the variance."""
        return 1 + (self.cluster_size - 1) * self.icc


@dataclass(frozen=True, slots=True)
class PowerRow:
    """What it takes to see one difference.

    Attributes:
        effect: Rate of the second run minus that of the first.
        rate: Rate of the second run.
        paired: Samples, if both runs answer the same.
        unpaired: Samples of each run, if they answer different ones.
        paired_power: Chance of seeing the difference with the samples at hand, paired.
        unpaired_power: The same, unpaired.
    """

    effect: float
    rate: float
    paired: int
    unpaired: int
    paired_power: float
    unpaired_power: float

    def to_json(self) -> dict[str, float | int]:
        """One key per attribute."""
        return asdict(self)


def power_table(design: Design, samples: int, effects: Sequence[float] = EFFECTS) -> tuple[PowerRow, ...]:
    """A row for each difference; of several, those are left out that would lead out of (0, 1).

    Args:
        design: What is assumed.
        samples: Samples at hand, of each run.
        effects: Differences to see, each in (-1, 1) and not 0.

    Raises:
        DataError: There is no sample, no difference that the rate allows, or one so small that no number of samples
            shows it.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        shown = samples if abs(samples) <= 10**20 else "a number of more than 20 digits"
        raise DataError(f"n is {shown}; expected from 1 to {MOST_SAMPLES:,} samples")
    kept = [effect for effect in effects if effect != 0 and 0 < design.rate + effect < 1]
    if not kept:
        raise DataError(
            f"no effect of {', '.join(f'{each:g}' for each in effects)} leads from the rate {design.rate:g} to another "
            "between 0 and 1; give a smaller --effect"
        )
    return tuple(_row(design, samples, effect) for effect in kept)


def smallest_effect(design: Design, samples: int, *, paired: bool) -> float | None:
    """The smallest upward difference that is found with the design's power; None where there is none.

    Args:
        design: What is assumed.
        samples: Samples at hand, of each run.
        paired: Whether both runs answer the same samples.
    """
    low, high = 0.0, 1 - design.rate - 1e-9
    if _power(design, samples, high, paired) < design.power:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(design, samples, middle, paired) >= design.power else (middle, high)
    return high


def _row(design: Design, samples: int, effect: float) -> PowerRow:
    needed = (_needed(design, effect, paired) for paired in (True, False))
    powers = (_power(design, samples, effect, paired) for paired in (True, False))
    return PowerRow(effect, design.rate + effect, *needed, *powers)


def _needed(design: Design, effect: float, paired: bool) -> int:
    null, other = _deviations(design, effect, paired)
    of_alpha, of_power = normal_quantile(1 - design.alpha / 2), normal_quantile(design.power)
    reach = float(of_alpha * null + of_power * other) / effect
    needed = design.design_effect * (reach * reach)  # a power would raise where a product is infinite
    if not needed <= MOST_SAMPLES:
        raise DataError(
            f"an effect of {effect:g} with alpha {design.alpha:g}, power {design.power:g} and a design effect of "
            f"{design.design_effect:g} takes more than {MOST_SAMPLES:,} samples; give a larger --effect"
        )
    return math.ceil(needed)


def _power(design: Design, samples: int, effect: float, paired: bool) -> float:
    null, other = _deviations(design, effect, paired)
    reach = abs(effect) * math.sqrt(samples / design.design_effect) - normal_quantile(1 - design.alpha / 2) * null
    return normal_share(reach / other) if other > 0 else float(reach > 0)


def _deviations(design: Design, effect: float, paired: bool) -> tuple[float, float]:
    """Standard deviations of one sample's (or pair of samples') difference: without a difference, and with it."""
    first, second = design.rate, design.rate + effect
    if not paired:
        mean = (first + second) / 2
        return math.sqrt(2 * mean * (1 - mean)), math.sqrt(first * (1 - first) + second * (1 - second))
    shared = design.correlation * math.sqrt(first * (1 - first) * second * (1 - second))
    discordant = max(first * (1 - second) + second * (1 - first) - 2 * shared, abs(effect))
    return math.sqrt(discordant), math.sqrt(max(discordant - effect**2, 0))
