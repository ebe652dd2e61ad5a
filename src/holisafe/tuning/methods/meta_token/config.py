"""Settings of the meta token's method."""

from __future__ import annotations

from dataclasses import dataclass, field

from holisafe.tuning._fields import Range
from holisafe.tuning.methods._method import MethodConfig


@dataclass(frozen=True, kw_only=True)
class MetaTokenConfig(MethodConfig):
    """Weights of the guard's terms beside the answer's."""

    image_weight: float = field(
        default=1.0, metadata={"help": "λ, weight of the image head's cross-entropy, at least 0.", "range": Range()}
    )
    joint_weight: float = field(
        default=1.0,
        metadata={"help": "μ, weight of the joint head's cross-entropies, at least 0 (ours).", "range": Range()},
    )
