"""Letters of one script that stand for those of another: "саn't" with Cyrillic letters reads as "can't"."""

from __future__ import annotations

import re
from functools import cache

from holisafe.judges.strings._patterns import read

_WORD = re.compile(r"[^\W\d_]+")
_LATIN_END = "\u0250"  # Latin letters end before it
_CYRILLIC = ("\u0400", "\u0530")


def unmixed(text: str) -> str:
    """The text with look-alikes put into the script of the words that they stand in.

    In a Cyrillic text, Latin letters in a Cyrillic word become Cyrillic. In another, a word of Latin letters and
    look-alikes becomes Latin, and so does a word of look-alikes alone where most letters are Latin.
    """
    if text.isascii():
        return text
    latin, cyrillic = _tables()
    letters = [character for word in _WORD.findall(text) for character in word]
    sure = sum(_is_cyrillic(each) and ord(each) not in latin for each in letters)
    if sure > sum(map(_is_latin, letters)):
        return _WORD.sub(lambda word: word[0].translate(cyrillic) if _is_mixed(word[0], cyrillic) else word[0], text)
    text = _WORD.sub(lambda word: word[0].translate(latin) if _is_disguised(word[0], latin) else word[0], text)
    letters = [character for word in _WORD.findall(text) for character in word]
    if 2 * sum(map(_is_latin, letters)) <= len(letters):
        return text
    return _WORD.sub(lambda word: word[0].translate(latin) if _alike(word[0], latin) else word[0], text)


def _is_disguised(word: str, latin: dict[int, str]) -> bool:
    """Whether a word is of Latin letters and look-alikes, and of both."""
    others = "".join(character for character in word if not _is_latin(character))
    return 0 < len(others) < len(word) and _alike(others, latin)


def _is_mixed(word: str, cyrillic: dict[int, str]) -> bool:
    """Whether a word is of Cyrillic letters and Latin look-alikes, and of both."""
    others = "".join(character for character in word if _is_latin(character))
    rest = (character for character in word if not _is_latin(character))
    return 0 < len(others) < len(word) and _alike(others, cyrillic) and all(map(_is_cyrillic, rest))


def _alike(word: str, table: dict[int, str]) -> bool:
    return all(ord(character) in table for character in word)


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
