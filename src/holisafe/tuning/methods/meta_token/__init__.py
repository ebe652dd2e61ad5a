"""Safety meta token: the guard reads a learned token after each image. Source: arXiv 2506.04704 v1 and v2.

Batches and loss are those of `vgm`, which adds the tokens of a guard that has one.
"""

from __future__ import annotations

from dataclasses import replace

from holisafe.errors import TuningError
from holisafe.guard import GuardConfig
from holisafe.tuning.methods._method import METHODS
from holisafe.tuning.methods.meta_token.config import MetaTokenConfig
from holisafe.tuning.methods.vgm import VisualGuardModule

__all__ = ["MetaToken", "MetaTokenConfig"]


class MetaToken(VisualGuardModule):
    """The method of the paper's first versions."""

    name = "meta-token"
    about = "answers together with a guard that reads a learned token per image (arXiv 2506.04704 v1)"
    config = MetaTokenConfig

    def guard(self, wanted: GuardConfig | None) -> GuardConfig | None:
        """Any guard; it gets a meta token where it has none."""
        return replace(wanted or GuardConfig(), meta_token=True)

    def check_guard(self, found: GuardConfig | None) -> None:
        """A guard with a meta token."""
        if found is None:
            raise TuningError('method="meta-token" needs a guard; add one with attach_guard(model)')
        if not found.meta_token:
            raise TuningError(
                'method="meta-token": the guard has no meta token; attach it with GuardConfig(meta_token=True)'
            )


METHODS.add(MetaToken.name, MetaToken())
