"""Letters of one script that stand for those of another: "саn't" with Cyrillic letters reads as "can't"."""

from __future__ import annotations

import re
from functools import cache

from holisafe.judges.strings._patterns import read

_WORD = re.compile(r"[^\W\d_]+")
_LATIN_END = "\u0250"  # Latin letters end before it
_CYRILLIC = ("\u0400", "\u0530")


def unmixed(text: str) -> str:
    """The text with look-alikes put into the script of the word that they stand in.

    A word of Latin letters and look-alikes becomes Latin; so does, in a text that is mostly Latin, a word of
    look-alikes alone. A Cyrillic word becomes Cyrillic. Other words stay as they are.
    """
    if text.isascii():
        return text
    latin, cyrillic = _tables()
    text = _WORD.sub(lambda word: _unmixed(word[0], latin, cyrillic), text)
    letters = [character for word in _WORD.findall(text) for character in word]
    if 2 * sum(map(_is_latin, letters)) <= len(letters):
        return text
    return _WORD.sub(lambda word: word[0].translate(latin) if _alike(word[0], latin) else word[0], text)


def _unmixed(word: str, latin: dict[int, str], cyrillic: dict[int, str]) -> str:
    if word.isascii() or not any(map(_is_latin, word)):
        return word
    others = [character for character in word if not _is_latin(character)]
    if others and _alike("".join(others), latin):
        return word.translate(latin)
    if all(map(_is_cyrillic, others)) and all(ord(each) in cyrillic for each in word if _is_latin(each)):
        return word.translate(cyrillic)
    return word


def _alike(word: str, latin: dict[int, str]) -> bool:
    return all(ord(character) in latin for character in word)


def _is_latin(character: str) -> bool:
    return character < _LATIN_END


def _is_cyrillic(character: str) -> bool:
    return _CYRILLIC[0] <= character < _CYRILLIC[1]


@cache
def _tables() -> tuple[dict[int, str], dict[int, str]]:
    """To Latin, and from Latin to Cyrillic."""
    rows = read("languages")["lookalikes"].items()
    latin = {ord(each): letter for letter, alike in rows for each in alike}
    cyrillic = {ord(letter): alike[0] for letter, alike in rows if _is_cyrillic(alike[0])}
    return latin, cyrillic
