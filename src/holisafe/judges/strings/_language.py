"""Which language a text is in: by its script, then by frequent words and letters of its own."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cache

from holisafe.judges.strings._patterns import read

_READ = 4_000  # characters that tell the language
_WEIGHT = {"han": 3, "kana": 3, "hangul": 2}  # a character of these says more than a letter
_WORD = re.compile(r"[^\W\d_]+")
_LEAST_HITS, _LEAST_SHARE = 2, 0.2
_PRESENT = 0.15
_LEAST_LETTERS = 2


@dataclass(frozen=True, slots=True)
class Found:
    """What a text is written in.

    Attributes:
        language: Code of the language ("de"), or the name of one that has no code here ("Dutch", "thai").
        latin: Whether a notable share of it is in Latin letters.
    """

    language: str
    latin: bool


@dataclass(frozen=True, slots=True)
class _Signs:
    starts: list[int]
    spans: list[tuple[int, str]]
    scripts: dict[str, list[str]]
    words: dict[str, frozenset[str]]
    letters: dict[str, frozenset[str]]


def language_of(folded: str) -> Found:
    """The language of a folded text; English where nothing tells."""
    signs = _signs()
    counts: Counter[str] = Counter()
    for character, count in Counter(folded[:_READ]).items():
        script = _script(signs, ord(character))
        if script and character.isalpha():
            counts[script] += count * _WEIGHT.get(script, 1)
    if counts.total() < _LEAST_LETTERS:
        return Found("en", latin=True)
    if counts["kana"] and counts["han"]:
        counts["kana"] += counts.pop("han")
    script = max(counts, key=lambda name: counts[name])
    latin = counts["latin"] >= _PRESENT * counts.total()
    choices = signs.scripts.get(script)
    return Found(script if choices is None else _by_words(signs, choices, folded), latin)


def _by_words(signs: _Signs, choices: list[str], folded: str) -> str:
    """The choice with the most frequent words; the first unless another is well ahead."""
    if len(choices) == 1:
        return choices[0]
    words = _WORD.findall(folded[:_READ])
    own = {name: signs.words[name] for name in choices}
    letters = {name: signs.letters.get(name, frozenset()) for name in choices}
    hits = {name: sum(word in own[name] or not letters[name].isdisjoint(word) for word in words) for name in choices}
    best = max(choices, key=lambda name: hits[name])  # the earlier of two with as many
    marked = any(not letters[best].isdisjoint(word) for word in words)
    enough = hits[best] >= min(_LEAST_HITS, len(words)) and (marked or hits[best] >= _LEAST_SHARE * len(words))
    return best if enough and hits[best] > hits[choices[0]] else choices[0]


def _script(signs: _Signs, point: int) -> str:
    place = bisect_right(signs.starts, point) - 1
    if place < 0:
        return ""
    end, script = signs.spans[place]
    return script if point <= end else ""


@cache
def _signs() -> _Signs:
    data = read("languages")
    spans = sorted(
        (int(start, 16), int(end, 16), script)
        for script, ranges in data["ranges"].items()
        for start, end in (span.split("-") for span in ranges)
    )
    return _Signs(
        [start for start, _, _ in spans],
        [(end, script) for _, end, script in spans],
        data["scripts"],
        {name: frozenset(words.split()) for name, words in data["words"].items()},
        {name: frozenset(letters) for name, letters in data["letters"].items()},
    )
