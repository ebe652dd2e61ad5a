"""Settings of SafeKey. Source: arXiv 2505.16186."""

from __future__ import annotations

from dataclasses import dataclass, field

from holisafe.tuning._fields import Range
from holisafe.tuning.methods.vgm.config import VgmConfig


@dataclass(frozen=True, kw_only=True)
class SafeKeyConfig(VgmConfig):
    """Weights of the auxiliary terms; image_weight and joint_weight where a guard learns."""

    key_weight: float = field(
        default=0.2,
        metadata={
            "help": "Weight of the key sentence's cross-entropy with the query masked, at least 0 (paper: 0.2).",
            "range": Range(),
        },
    )
    head_weight: float = field(
        default=0.2,
        metadata={
            "help": "Weight of the two safety heads' cross-entropy, at least 0 (paper: 0.2).",
            "range": Range(),
        },
    )
    understanding_share: float = field(
        default=0.5,
        metadata={
            "help": "θ, share of the head that reads the understanding alone, in [0, 1] (paper: 0.5).",
            "range": Range(below=1 + 1e-9),
        },
    )
    auxiliary_start: float = field(
        default=0.6,
        metadata={
            "help": "Share of the training after which the auxiliary terms count, in [0, 1) (paper: in the last 2 of "
            "5 epochs).",
            "range": Range(below=1),
        },
    )
