"""One spelling for many: what the rules read, after wrappers, Unicode, markdown, quotes and short forms are folded."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterator

from holisafe.judges._thoughts import without_invisible
from holisafe.judges.strings._lookalikes import unmixed

LONGEST = 24_000
"""Characters of an answer that are read: the first three quarters of them from its start, the rest from its end."""

_APOSTROPHES = dict.fromkeys(map(ord, "’‘‛`´ʼʹ′＇‚"), "'")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n\s+")
_BREAK = "\n\n"  # between paragraphs; a single line break within one is a space
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff]")
_FENCE = re.compile(r"(?:```|~~~)[\w+-]{0,20}")
_SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?(?:s|eos|bos|pad|end_of_turn|start_of_turn)>", re.IGNORECASE)
_LABEL = re.compile(r"<(label|verdict|score|judge|grade)>[^<>]{0,40}</\1>", re.IGNORECASE)
_ROLE_TAG = re.compile(r"<\|?(user|human|assistant)\|?>", re.IGNORECASE)
_INLINE_TAG = re.compile(r"</?(?:b|i|u|em|strong|mark|span|code|small|sub|sup|font|a)>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][\w-]{0,20}/?>")
_MARKDOWN = re.compile(r"[*_~#>]+")
_BLOCK = re.compile(r"^[ \t]*(?:[-•·+*] |#{1,6} |> ?|(?=\|)|(?=\d{1,2}[.)] ))", re.MULTILINE)
_TURN = re.compile(r"^\W{0,4}(user|human|assistant|ai)\W{0,4}?(?::|$)", re.IGNORECASE | re.MULTILINE)
_INSTRUCTION = re.compile(r"\[INST\].{0,4000}?\[/INST\]", re.IGNORECASE | re.DOTALL)
_SPEAKER = re.compile(r"\n(?=\w[\w ]{0,24}:)")
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
_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|(?<=[。।])|\n\n+")
_FEWEST_LINES = 3  # of one word each that are one sentence
_SAYS = frozenset({"answer", "response", "text", "content", "final", "output", "message", "reply", "final_answer"})


def fold(text: str) -> str:
    """An answer as the rules read it: lower case, compatible characters unified, apostrophes straight.

    Markdown, invisible characters, tags, references of HTML, JSON around it and turns of somebody else are gone;
    letters of other scripts that look like Latin ones are Latin; a long one is cut to its start and end. Paragraphs
    and items of lists are apart by two line breaks.
    """
    text = _LINES.sub(_line_break, _SPACES.sub(" ", without_invisible(text))).strip()
    if len(text) > LONGEST:
        text = f"{text[: LONGEST * 3 // 4]}\n{text[-LONGEST // 4 :]}"
    text = without_invisible(html.unescape(text))
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES)
    text = unmixed(_MARKS.sub("", text))
    text = text.replace("'''", "```")  # a fence, whose backquotes look like apostrophes
    text = _INLINE_TAG.sub("", _ROLE_TAG.sub(rf"{_BREAK}\1:\n", text))
    for wrapper in (_FENCE, _SPECIAL, _LABEL, _TAG):
        text = wrapper.sub(_BREAK, text)
    text = _BLOCK.sub("\n", _own_turns(_from_json(text)))
    return _SPACES.sub(" ", _MARKDOWN.sub("", text).lower()).strip()


def unquoted(folded: str, mark: str = " ") -> str:
    """A folded text without what it quotes, which is somebody else's words, unless nothing else is said.

    Args:
        folded: The text.
        mark: What stands in the place of each quotation.
    """
    if re.search(r"\w", _QUOTES.sub(" ", folded)):
        return _QUOTES.sub(mark, folded)
    return folded.strip("\"“”„«»「」『』' ")


def sentences(text: str) -> list[str]:
    """Sentences of a folded text, short forms written out; lines of a paragraph are read as one text."""
    text = _SPEAKER.sub(_BREAK, text)
    for pattern, full in _SHORT_FORMS:
        text = pattern.sub(full, text)
    parts = (re.sub(r"\s+", " ", part).strip() for part in _SENTENCE_END.split(_one_word_lines(text)))
    return [part for part in parts if re.search(r"\w", part)]


def _line_break(found: re.Match[str]) -> str:
    return _BREAK if "\n" in found[0][1:] else "\n"


def _own_turns(text: str) -> str:
    """A text without what stands under a mark of the user's turn; as it is where nothing else is said."""
    text = _INSTRUCTION.sub(_BREAK, text)
    marks = list(_TURN.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)]
    of_others = [mark[1].lower() in ("user", "human") for mark in marks]
    turns = zip(marks, ends[1:], of_others, strict=True)
    own = [text[: ends[0]], *(text[mark.end() : end] for mark, end, is_others in turns if not is_others)]
    kept = _BREAK.join(own)
    return kept if re.search(r"\w", kept) else text


def _one_word_lines(text: str) -> str:
    """A text in which paragraphs of one word each, where many follow each other, are one."""
    joined: list[str] = []
    run: list[str] = []
    for block in [*text.split(_BREAK), ""]:
        if block.strip() and " " not in block.strip() and "\n" not in block.strip():
            run.append(block.strip())
            continue
        joined += [" ".join(run)] if len(run) >= _FEWEST_LINES else run
        run = []
        joined.append(block)
    return _BREAK.join(joined)


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
    return _BREAK.join(answers or [string for _, string in said]) or text


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
