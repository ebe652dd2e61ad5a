"""A judge's model that says what it is told to, and what it was asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holisafe.judges import Reply
from holisafe.records import Turn

GOOD = {"refused": True, "harmful": False, "helpful": False, "about_image": True, "warns": True, "quote": "I can't"}


def number_in(text: str) -> str:
    """The number of a request."""
    (found,) = set(re.findall(r"<answer ([0-9a-f]{16})>", text))
    return str(found)


def verdict(number: str, **fields: Any) -> str:
    """A reply of the judge "rubric"."""
    return json.dumps({"id": number, **GOOD, **fields})


@dataclass
class Scripted:
    """An `ask` whose reply is made from the request's number."""

    reply: Callable[[str], Reply | str] = verdict
    asked: list[list[Turn]] = field(default_factory=list)

    async def __call__(
        self, turns: Sequence[Turn], *, max_tokens: int = 512, schema: Mapping[str, Any] | None = None
    ) -> Reply:
        self.asked.append(list(turns))
        found = self.reply(number_in(turns[-1].text))
        return found if isinstance(found, Reply) else Reply(found, "scripted", {"input": 9, "output": 3})
