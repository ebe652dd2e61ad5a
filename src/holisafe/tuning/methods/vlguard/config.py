"""Settings of VLGuard's safety fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field

from holisafe.tuning._fields import Range
from holisafe.tuning.methods.vgm.config import VgmConfig


@dataclass(frozen=True, kw_only=True)
class VlguardConfig(VgmConfig):
    """In which order requests come; and, with a guard, the weights of its terms."""

    shuffle_seed: int = field(
        default=0,
        metadata={
            "help": "Seed of the order in which the harmless and the harmful request about an image come, at least 0 "
            "(published: 0).",
            "range": Range(),
        },
    )
