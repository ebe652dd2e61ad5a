"""Text from data, made harmless for a terminal."""

from __future__ import annotations

from holisafe._printable import printable


def plain(text: str) -> str:
    """Markup and control characters are shown, not obeyed; line breaks stay."""
    from rich.markup import escape

    return escape(printable(text))


def plain_line(text: str) -> str:
    """As `plain`, with line breaks shown too: for names of files, which may hold any character."""
    return plain(text).replace("\n", "\\n")
