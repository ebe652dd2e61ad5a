"""How a run tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called after each optimizer step with its number, that of all steps, and the newest line of the log that has losses;
after each evaluation with its line, which has the key "evaluation"."""

OnStage = Callable[[str, int, int], None]
"""Called with what is being done ("checking samples"), how much of it is done, and of how much; 0 and 0 if that is not
counted."""


def untold(name: str, done: int, total: int) -> None:
    """An `OnStage` that shows nothing."""
