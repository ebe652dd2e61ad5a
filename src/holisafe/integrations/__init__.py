"""Adapters that let other guardrail frameworks ask a running `holisafe serve`; each imports its framework when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.integrations.client import GuardClient, GuardReply

__all__ = ["GuardClient", "GuardReply"]

__getattr__, __dir__ = lazy(__name__, dict.fromkeys(__all__, "holisafe.integrations.client"))
