"""Settings of direct preference optimisation."""

from __future__ import annotations

from dataclasses import dataclass, field

from holisafe.tuning._fields import ABOVE_ZERO
from holisafe.tuning.methods.vgm.config import VgmConfig


@dataclass(frozen=True, kw_only=True)
class DpoConfig(VgmConfig):
    """How strictly the model stays with what it was; and, with a guard, the weights of its terms."""

    beta: float = field(
        default=0.1,
        metadata={
            "help": "β, what log-ratios are multiplied by, above 0: the higher, the closer to the model as it was "
            "(SPA-VL: 0.1).",
            "range": ABOVE_ZERO,
        },
    )
