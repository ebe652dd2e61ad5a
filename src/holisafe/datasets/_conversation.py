"""Conversations of training data: LLaVA's `conversations`, OpenAI's `messages`, and texts with `<image>` in them.

    {"conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "A kite."}]}
    {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}, ...]}

The last answer is the reference; earlier answers and system turns stay as turns.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holisafe.datasets._values import show
from holisafe.records import ImageRef, Role, Turn

FIELDS = ("conversations", "messages", "conversation")
"""Fields that hold a conversation."""

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "human": Role.USER,
    "user": Role.USER,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "model": Role.ASSISTANT,
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_IMAGE_PARTS = ("image", "image_url", "input_image")
_PLACEHOLDER = re.compile(r"<image>|<imagehere>|<image_placeholder>", re.IGNORECASE)
_CLOSING = tuple(".,;:!?)]}")


class WrongTurn(Exception):
    """A turn that cannot be read: what was found, and what was expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected


@dataclass(slots=True)
class Draft:
    """A turn whose images are not placed yet.

    Attributes:
        role: Who speaks.
        text: The text without placeholders.
        images: For every image that the text mentions, in order: what a content part holds, or None for a
            placeholder, which stands for the record's next image.
    """

    role: Role
    text: str
    images: list[Any] = field(default_factory=list)


def without_placeholders(text: str) -> tuple[str, int]:
    """The text without its `<image>` placeholders, and how many there were; in time linear in the text.

    White space around a placeholder becomes one line break or space, none at the ends of the text.
    """
    pieces = _PLACEHOLDER.split(text)
    if len(pieces) == 1:
        return text, 0
    joined: list[str] = []
    is_line_break = False
    for at, piece in enumerate(pieces):
        inner = piece if at == 0 else piece.lstrip()
        is_line_break = is_line_break or "\n" in piece[: len(piece) - len(inner)]
        right = inner if at == len(pieces) - 1 else inner.rstrip()
        if right:
            if joined and not right.startswith(_CLOSING):
                joined.append("\n" if is_line_break else " ")
            joined.append(right)
            is_line_break = False
        is_line_break = is_line_break or "\n" in inner[len(right) :]
    return "".join(joined).strip(), len(pieces) - 1


def read_turns(found: Any) -> tuple[list[Draft], str | None]:
    """The turns up to the last question, and the answer to it where there is one.

    Raises:
        WrongTurn: It is no conversation with a question.
    """
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise WrongTurn(show(found), 'a list of turns such as {"from": "human", "value": TEXT} or {"role": "user", ...}')
    drafts = [draft for draft in map(_draft, found) if draft.text or draft.images]
    reference = drafts.pop().text if drafts and drafts[-1].role is Role.ASSISTANT else None
    if not drafts or drafts[-1].role is not Role.USER:
        last = f"a last turn of role {drafts[-1].role}" if drafts else show(found)
        raise WrongTurn(last, 'a last question: a turn {"from": "human", ...} or {"role": "user", ...}')
    return drafts, reference


def _draft(turn: Any) -> Draft:
    if not isinstance(turn, Mapping):
        raise WrongTurn(show(turn), 'turns such as {"from": "human", "value": TEXT} or {"role": "user", "content": TEXT}')
    name = turn["role"] if turn.get("role") is not None else turn.get("from")
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise WrongTurn(f"a turn of role {name!r}", f"one of {', '.join(_ROLES)}")
    content = turn["content"] if turn.get("content") is not None else turn.get("value")
    if content is None and role is Role.ASSISTANT:
        return Draft(role, "")
    if isinstance(content, str):
        text, count = without_placeholders(content)
        return Draft(role, text.strip(), [None] * count)
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, Sequence):
        raise WrongTurn(show(turn), "a text, or a list of parts, in `content` (or `value`)")
    texts: list[str] = []
    images: list[Any] = []
    for part in content:
        _read_part(part, texts, images)
    return Draft(role, "\n".join(text for text in texts if text), images)


def _read_part(part: Any, texts: list[str], images: list[Any]) -> None:
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise WrongTurn(show(part), "parts that are objects with a `type`")
    # Arrow gives every part all fields, null where it has none
    given = {name: value for name, value in part.items() if value is not None}
    kind = given.get("type")
    if kind in _TEXT_PARTS and isinstance(given.get("text"), str):
        text, count = without_placeholders(given["text"])
        texts.append(text.strip())
        images += [None] * count
    elif kind in _IMAGE_PARTS:
        own = next((given[name] for name in ("image", "image_url", "url", "path") if name in given), None)
        images.append(own.get("url", own) if isinstance(own, Mapping) else own)
    else:
        raise WrongTurn(show(part), f"parts of type {', '.join((*_TEXT_PARTS, *_IMAGE_PARTS))}")


def data_url(address: str) -> bytes | None:
    """The bytes that a `data:image/...;base64,` address holds; None where it holds none."""
    head, comma, content = address.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        return None
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return None


def place_images(drafts: Sequence[Draft], own: Sequence[ImageRef | None], images: Sequence[ImageRef]) -> list[Turn]:
    """Turns with their images: each at its placeholder, and those without one in the first question.

    Args:
        drafts: The turns.
        own: For every image of the users' turns, in order: the one that the turn itself holds; None for a
            placeholder.
        images: The record's images, at least as many as there are placeholders.

    Returns:
        As many turns.
    """
    wanted = iter(own)
    placeholders = sum(each is None for each in own)
    placed = iter(images[:placeholders])
    rest = tuple(images[placeholders:])
    turns: list[Turn] = []
    for draft in drafts:
        refs: tuple[ImageRef, ...] = ()
        if draft.role is Role.USER:
            refs = tuple(next(placed) if ref is None else ref for ref in (next(wanted) for _ in draft.images))
            refs, rest = refs + rest, ()
        turns.append(Turn(draft.role, draft.text, refs))
    return turns
