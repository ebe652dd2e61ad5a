"""Unsafe Weights Manipulation (arXiv 2503.11742, WACV 2026) for CLIP-like encoders and a model's vision encoder."""

from __future__ import annotations

from holisafe.editing._method import EDITING_METHODS
from holisafe.editing.methods.uwm._method import Uwm, UwmConfig

__all__ = ["Uwm", "UwmConfig"]

EDITING_METHODS.add(Uwm.name, Uwm())
