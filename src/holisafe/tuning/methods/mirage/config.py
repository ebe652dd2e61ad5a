"""Settings of MIRage."""

from __future__ import annotations

from dataclasses import dataclass, field

from holisafe.tuning._fields import Range
from holisafe.tuning.methods.vgm.config import VgmConfig


@dataclass(frozen=True, kw_only=True)
class MirageConfig(VgmConfig):
    """How many images a request needs; and, with a guard, the weights of its terms."""

    min_images: int = field(
        default=2,
        metadata={"help": "Fewest images of a safety sample, at least 1 (MIS: 2).", "range": Range(1)},
    )
