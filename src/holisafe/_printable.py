"""Text from data, made harmless for a terminal and for files in UTF-8."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Control characters are shown, not obeyed; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def encodable(text: str) -> str:
    """The text with U+FFFD for every lone surrogate, which UTF-8 cannot hold; pairs of surrogates are joined."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def is_plain_line(text: str) -> bool:
    """Whether a text is one line that UTF-8 can hold: no control characters, line separators or lone surrogates."""
    return text.isprintable() or not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)
