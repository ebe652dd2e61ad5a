"""One spelling for many: what the rules read, after wrappers, Unicode, markdown, quotes and short forms are folded."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterator

from holisafe.judges._thoughts import without_invisible

LONGEST = 24_000
"""Characters of an answer that are read: the first three quarters of them from its start, the rest from its end."""

_APOSTROPHES = dict.fromkeys(map(ord, "’‘‛`´ʼʹ′＇‚"), "'")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n\s+")
_FENCE = re.compile(r"(?:```|~~~)[\w+-]{0,20}")
_SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?(?:s|eos|bos|pad|end_of_turn|start_of_turn)>", re.IGNORECASE)
_LABEL = re.compile(r"<(label|verdict|score|judge|grade)>[^<>]{0,40}</\1>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][\w-]{0,20}/?>")
_MARKDOWN = re.compile(r"[*_~#>]+")
_LIST_ITEM = re.compile(r"^[ \t]*[-•·+] ", re.MULTILINE)
_QUOTES = re.compile(
    '"[^"]{2,2000}"|“[^”]{2,2000}”|„[^“”]{2,2000}[“”]|«[^»]{2,2000}»|「[^」]{2,2000}」|『[^』]{2,2000}』'
    "|(?<!\\w)'[^\"]{3,300}?'(?!\\w)"
)
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
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|(?<=[。।])|\n+")
_SAYS = frozenset({"answer", "response", "text", "content", "final", "output", "message", "reply", "final_answer"})


def fold(text: str) -> str:
    """An answer as the rules read it: lower case, compatible characters unified, apostrophes straight.

    Markdown, invisible characters, tags, references of HTML and JSON around it are gone; a long one is cut to its
    start and end.
    """
    text = _LINES.sub("\n", _SPACES.sub(" ", without_invisible(text))).strip()
    if len(text) > LONGEST:
        text = f"{text[: LONGEST * 3 // 4]}\n{text[-LONGEST // 4 :]}"
    text = without_invisible(html.unescape(text))
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES)
    text = text.replace("'''", "```")  # a fence, whose backquotes look like apostrophes
    for wrapper in (_FENCE, _SPECIAL, _LABEL, _TAG):
        text = wrapper.sub("\n", text)
    text = _from_json(text)
    return _SPACES.sub(" ", _MARKDOWN.sub("", _LIST_ITEM.sub("", text)).lower()).strip()


def unquoted(folded: str) -> str:
    """A folded text without what it quotes, which is somebody else's words, unless nothing else is said."""
    rest = _QUOTES.sub(" ", folded)
    return rest if re.search(r"\w", rest) else folded.strip("\"“”„«»「」『』' ")


def sentences(text: str) -> list[str]:
    """Sentences of a folded text, short forms written out."""
    for pattern, full in _SHORT_FORMS:
        text = pattern.sub(full, text)
    parts = (re.sub(r"\s+", " ", part).strip() for part in _SENTENCE_END.split(text))
    return [part for part in parts if re.search(r"\w", part)]


def _from_json(text: str) -> str:
    """What a JSON value says: the strings under names such as "answer", else all strings; other text as it is."""
    bare = text.strip(" \n*_~")  # emphasis around it is none of it
    if not bare.startswith(("{", "[")):
        return text
    try:
        value = json.loads(bare, strict=False)
    except (ValueError, RecursionError):
        return text
    said = list(_strings(value, ""))
    answers = [string for name, string in said if name in _SAYS]
    return "\n".join(answers or [string for _, string in said]) or text


def _strings(value: object, name: str) -> Iterator[tuple[str, str]]:
    waiting = [(name, value)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            waiting += reversed([(str(key).lower(), part) for key, part in value.items()])
        elif isinstance(value, list):
            waiting += [(name, part) for part in reversed(value)]
