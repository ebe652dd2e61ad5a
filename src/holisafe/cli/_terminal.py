"""Text from data, made harmless for a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Markup and control characters are shown, not obeyed; line breaks stay."""
    from rich.markup import escape

    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return escape(shown)


def plain_line(text: str) -> str:
    """As `plain`, with line breaks shown too: for names of files, which may hold any character."""
    return plain(text).replace("\n", "\\n")
