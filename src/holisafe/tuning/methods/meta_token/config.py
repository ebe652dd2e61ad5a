"""Settings of the meta token's method."""

from __future__ import annotations

from dataclasses import dataclass

from holisafe.tuning.methods.vgm.config import VgmConfig


@dataclass(frozen=True, kw_only=True)
class MetaTokenConfig(VgmConfig):
    """Weights of the guard's terms beside the answer's: those of `vgm`."""
