"""Checks of tuning's settings: a fault is a `TuningError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holisafe._fields import ABOVE_ZERO, Range, shown
from holisafe._fields import check_fields as _check_fields
from holisafe.errors import TuningError

__all__ = ["ABOVE_ZERO", "Range", "check_fields", "shown"]


def check_fields(settings: Any, ranges: Mapping[str, Range]) -> None:
    """Check kinds and ranges of a frozen dataclass's fields; names of enums become their members.

    Raises:
        TuningError: A value is of another kind or out of its range.
    """
    _check_fields(settings, ranges, TuningError)
