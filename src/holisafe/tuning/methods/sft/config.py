"""Settings of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from holisafe.tuning.methods._method import MethodConfig


@dataclass(frozen=True, kw_only=True)
class SftConfig(MethodConfig):
    """None of its own."""
