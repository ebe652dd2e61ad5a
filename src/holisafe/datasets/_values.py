"""Values of fields as files give them: whole numbers that became floats, NaN for null, and how messages show them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from holisafe._printable import is_plain_line

MISSING: Final = object()
"""Stands for a field that the record does not have."""


def plain(value: Any) -> Any:
    """A value as it was before pandas or Arrow: 2.0 is 2 and NaN is None, in lists too.

    A column of integers with a null becomes floats, and null becomes NaN.
    """
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def plain_fields(raw: Mapping[Any, Any]) -> dict[str, Any]:
    """All fields of a record, `plain`."""
    return {str(name): plain(value) for name, value in raw.items()}


def usable_id(value: Any) -> str | None:
    """An id as text; None for what cannot be one: control characters, line breaks, huge numbers, other types."""
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, int | str):
        return None
    if isinstance(found, int) and abs(found) >= 10**1000:
        return None
    text = str(found)
    return text if text.strip() and is_plain_line(text) else None


def show(found: Any) -> str:
    """A value as a message shows it: short, on one line, and plain when it is not there."""
    if found is MISSING:
        return "nothing (the field is missing)"
    if isinstance(found, bytes):
        return f"{len(found)} bytes"
    try:
        text = json.dumps(found, default=repr)
    except (ValueError, RecursionError, TypeError):  # thousands of digits, nested too deep, keys that are no text
        return f"a {type(found).__name__} too large to show"
    return text if len(text) <= 80 else f"{text[:77]}..."
