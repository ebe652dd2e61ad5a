"""What of a response is its answer: what follows the last thought; a thought that never ends is none."""

from __future__ import annotations

import re

_NAMES = r"think|thinking|thought|thoughts|reasoning|reflection"
_OPENING = re.compile(rf"<(?:{_NAMES})>|\[(?:{_NAMES})\]|◁think▷", re.IGNORECASE)
_CLOSING = re.compile(rf"</(?:{_NAMES})>|\[/(?:{_NAMES})\]|◁/think▷", re.IGNORECASE)
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def without_invisible(text: str) -> str:
    """The text without characters that show nothing: zero-width, soft hyphens, direction marks, tags, fillers."""
    return _INVISIBLE.sub("", text)


def answer_of(text: str) -> str:
    """What a response says after its last thought; empty where its thought never ends.

    A thought begins with a tag (`<think>`, `[THINK]`, ...) at the start of a line; where only its end is marked, all
    before is the thought. Linear in the length of the text.
    """
    end = 0
    for found in _CLOSING.finditer(text):
        end = found.end()
    answer = text[end:]
    for found in _OPENING.finditer(answer):
        if not answer[answer.rfind("\n", 0, found.start()) + 1 : found.start()].strip()[:1]:
            return answer[: found.start()]
    return answer
