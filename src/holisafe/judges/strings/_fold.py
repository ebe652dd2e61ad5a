"""One spelling for many: what the rules read, after Unicode, markdown, quotes and short forms are folded."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = dict.fromkeys(map(ord, "’‘‛`´ʼʹ′＇‚"), "'")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_MARKDOWN = re.compile(r"[*_~#>]+")
_QUOTES = re.compile('"[^"]{2,}"|“[^”]{2,}”|„[^“”]{2,}[“”]|«[^»]{2,}»|(?<!\\w)\'[^"]{3,300}?\'(?!\\w)')
_SHORT_FORMS = [
    (re.compile(pattern), full)
    for pattern, full in (
        (r"\b(?:can't|cant|can not)\b", "cannot"),
        (r"\b(?:won't|wont)\b", "will not"),
        (r"\b(?:dont)\b", "do not"),
        (r"\bain't\b", "am not"),
        (r"\bi'm\b|\bim\b", "i am"),
        (r"\blet's\b", "let us"),
        (r"\b(that|it|what|here|there|this)'s\b", r"\1 is"),
        (r"n't\b", " not"),
        (r"'re\b", " are"),
        (r"'ll\b", " will"),
        (r"'ve\b", " have"),
        (r"\b(i|you|we|he|she|they|it|that)'d\b", r"\1 would"),
    )
]
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")


def fold(text: str) -> str:
    """Lower case, compatible characters unified, apostrophes straight, markdown and invisible characters gone."""
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES)
    text = _INVISIBLE.sub("", text)
    return _MARKDOWN.sub("", text).lower().strip()


def sentences(text: str) -> list[str]:
    """Sentences of a text, folded, without what it quotes, short forms written out.

    What stands in quotation marks is somebody else's words, unless nothing else is said.
    """
    folded = fold(text)
    unquoted = _QUOTES.sub(" ", folded)
    if not re.search(r"\w", unquoted):
        unquoted = folded.strip("\"“”„«»' ")
    for pattern, full in _SHORT_FORMS:
        unquoted = pattern.sub(full, unquoted)
    parts = (re.sub(r"\s+", " ", part).strip() for part in _SENTENCE_END.split(unquoted))
    return [part for part in parts if re.search(r"\w", part)]
