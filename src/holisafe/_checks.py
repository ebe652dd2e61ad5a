"""Types at the border: a value of the wrong type is refused by name, before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit


def check_type(value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Refuse a value that is not of a type.

    Args:
        value: The value.
        kind: Its type, or the types that it may have.
        what: Its name, for the message.

    Raises:
        TypeError: It is of another type.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{what}: expected {_names(kind)}, found {_found(value)}")


def check_each(values: Iterable[object], kind: type | tuple[type, ...], what: str) -> None:
    """Refuse a collection with an element that is not of a type; a single text is no collection.

    Raises:
        TypeError: An element is of another type, or there is no collection.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{what}: expected several {_names(kind)}, found {_found(values)}")
    for place, value in enumerate(values):
        check_type(value, kind, f"{what}[{place}]")


def is_http(address: str) -> bool:
    """Whether an address is one of HTTP, with a host and, if any, a port that there can be."""
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and address.isprintable()
        return is_one and " " not in address and parts.port != 0
    except ValueError:  # brackets, or a port, that are none
        return False


def _names(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join("None" if each is type(None) else each.__name__ for each in kinds)


def _found(value: object) -> str:
    return "None" if value is None else f"{type(value).__name__} {repr(value)[:60]}"
