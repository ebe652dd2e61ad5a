"""Enums at the border: a string is either understood or refused by name."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from holisafe.errors import UnknownNameError

E = TypeVar("E", bound=StrEnum)


def parse_enum(kind: type[E], value: E | str) -> E:
    """The member that a value names, upper or lower case.

    Raises:
        UnknownNameError: It names none; the closest names are offered.
    """
    if isinstance(value, kind):
        return value
    by_name = {member.value.lower(): member for member in kind}
    found = by_name.get(str(value).strip().lower())
    if found is None:
        raise UnknownNameError(_words(kind.__name__), str(value), [member.value for member in kind])
    return found


def _words(name: str) -> str:
    """Class name in words: `DecideBy` as "decide by"."""
    return "".join(f" {c.lower()}" if c.isupper() and at else c.lower() for at, c in enumerate(name))
