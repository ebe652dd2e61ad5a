"""The editing methods that ship, each in a file or folder of its own."""

from __future__ import annotations

from holisafe.editing._method import EDITING_METHODS
from holisafe.editing.methods import merge, task_arithmetic, ties, uwm

__all__ = ["merge", "method_names", "task_arithmetic", "ties", "uwm"]


def method_names() -> list[str]:
    """Names of all methods, those of other packages included; none is imported."""
    return EDITING_METHODS.names()
