"""Text of models and data, made safe to show: escaped, of bounded length, nothing in it invisible."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

LONGEST = 4_000
"""Characters of a query or an answer that are shown."""

# controls, format characters (bidi overrides, zero widths, tags) and lone surrogates; not those that scripts need
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str, longest: int = LONGEST) -> Markup:
    """The text as HTML: escaped, characters that nobody sees written as their code points, cut with a notice.

    Direction overrides could otherwise make a text read as something else, and tag characters hide a message in it.
    """
    shown = text.replace("\r\n", "\n")[:longest]
    parts: list[Markup] = []
    start = 0
    for match in _UNSEEN.finditer(shown):
        parts += [escape(shown[start : match.start()]), _code_point(match.group())]
        start = match.end()
    parts.append(escape(shown[start:]))
    if len(text) > longest:
        parts.append(
            Markup('<span class="cut">[{:,} more characters; the run folder has them]</span>').format(
                len(text) - longest
            )
        )
    return Markup("").join(parts)


def plain(text: str, longest: int = 200) -> str:
    """The text for an attribute or a table cell: one line, nothing invisible, cut with an ellipsis."""
    line = " ".join(_UNSEEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return plain(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def legible(text: str, longest: int = LONGEST) -> str:
    """The text for a script that shows it as text: as `visible` has it, but without markup, and not said to be cut."""
    return _UNSEEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", text.replace("\r\n", "\n")[:longest])


def csv_cell(text: str) -> str:
    """The text for a cell of CSV: where a spreadsheet would take it for a formula, an apostrophe is put before it."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
            "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


def _code_point(character: str) -> Markup:
    name = unicodedata.name(character, "control character" if ord(character) < 0x100 else "unnamed").lower()
    return Markup('<span class="unseen" title="{}">U+{:04X}</span>').format(name, ord(character))
