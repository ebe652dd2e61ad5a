"""Text from data, made harmless for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Control characters are shown, not obeyed; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
