"""Checks of a settings dataclass at the border: each field's kind and range, with a message that names the field."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self, get_args

from holisafe._enums import parse_enum
from holisafe.errors import HoliSafeError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Range:
    """Values that a number may have.

    Attributes:
        low: The lowest.
        includes_low: Whether `low` itself is allowed.
        below: What values stay below.
    """

    low: float = 0.0
    includes_low: bool = True
    below: float = math.inf

    def check(self, name: str, value: float | None, error: type[HoliSafeError]) -> None:
        """Refuse a number outside; None is not looked at.

        Raises:
            HoliSafeError: It is outside; of the class `error`.
        """
        if value is None:
            return
        is_above = value >= self.low if self.includes_low else value > self.low
        if not (is_above and value < self.below):
            border = f"{'at least' if self.includes_low else 'above'} {self.low:g}"
            limit = "" if self.below == math.inf else f" and below {self.below:g}"
            raise error(f"{name}: expected a number {border}{limit}, found {value}")


ABOVE_ZERO = Range(0.0, includes_low=False)


def check_fields(settings: Any, ranges: Mapping[str, Range], error: type[HoliSafeError]) -> None:
    """Check kinds and ranges of a frozen dataclass's fields; names of enums become their members.

    Raises:
        HoliSafeError: A value is of another kind or out of its range; of the class `error`.
    """
    for name, hint in typing.get_type_hints(type(settings)).items():
        if typing.get_origin(hint) is ClassVar:
            continue
        value = _checked(name, getattr(settings, name), hint, error)
        object.__setattr__(settings, name, value)
    for name, allowed in ranges.items():
        allowed.check(name, getattr(settings, name), error)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one part that users choose by name, such as a tuning method or a defence.

    Fields carry metadata: "help", a text, and "range", a `Range` of numbers.

    Attributes:
        error: Class of the errors about them.
        of: What they are the settings of, in words: "the method".

    Raises:
        HoliSafeError: A value is of another kind or out of its range; of the class `error`.
    """

    error: ClassVar[type[HoliSafeError]] = HoliSafeError
    of: ClassVar[str] = "it"

    def __post_init__(self) -> None:
        ranges = {each.name: each.metadata["range"] for each in dataclasses.fields(self) if "range" in each.metadata}
        check_fields(self, ranges, self.error)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings by name; what is missing has its default.

        Raises:
            HoliSafeError: A name is unknown, or a value is of another kind or out of its range; of the class `error`.
        """
        known = [each.name for each in dataclasses.fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            takes = f"expected some of {', '.join(known)}" if known else f"{cls.of} takes none"
            raise cls.error(f"unknown field {', '.join(unknown)}; {takes}")
        return cls(**values)


def _checked(name: str, value: Any, hint: Any, error: type[HoliSafeError]) -> Any:
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _member(name, value, hint, error)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple) or not all(_is_name(each) for each in value):
            raise error(f"{name}: expected a list of names, found {shown(value)}")
        return tuple(value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise error(f"{name}: expected names and values, found {shown(value)}")
        return dict(value)
    kinds = get_args(hint) or (hint,)
    if not (type(value) in kinds or (float in kinds and type(value) is int)):
        wanted = " or ".join(_KIND_NAMES[kind] for kind in kinds)
        raise error(f"{name}: expected {wanted}, found {shown(value)}")
    return value


def _member(name: str, value: Any, kind: type[StrEnum], error: type[HoliSafeError]) -> StrEnum:
    if not isinstance(value, str):
        raise error(f"{name}: expected one of {', '.join(kind)}, found {shown(value)}")
    try:
        return parse_enum(kind, value)
    except UnknownNameError as unknown:
        raise error(f"{name}: {unknown}") from None


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def shown(value: Any) -> str:
    """The beginning of a value, as JSON where that is possible."""
    return json.dumps(value, default=repr)[:80]


_KIND_NAMES: dict[Any, str] = {
    float: "a number", int: "a whole number", bool: "true or false", str: "a text", type(None): "null",
}  # fmt: skip
