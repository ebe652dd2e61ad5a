"""The reply of a judge's model, read strictly: one JSON object with the request's number, or no verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from holisafe.judges._registry import Reply
from holisafe.judges.asked._declaration import ID, Field
from holisafe.judges.asked._request import cleaned
from holisafe.records import Outcome

LONGEST_REPLY = 100_000
"""Characters of a reply that are read."""

MOST_OBJECTS = 100
"""JSON objects in one reply."""

LONGEST_TEXT = 300
"""Characters kept of a text in it."""

_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL)
_DECLINES = re.compile(
    r"\A\W*(?:i\s*['’]?\s*a?m\s+(?:very\s+|so\s+)?sorry|sorry\b|i\s+apologi[sz]e|"
    r"(?:i\s*['’]?\s*a?m|i\s+am)\s+(?:unable|not\s+able)|i\s+(?:can\s*not|can\s*['’]\s*t|won\s*['’]\s*t|will\s+not|must\s+decline))",
    re.IGNORECASE,
)

Found = dict[str, bool | str]


class NoVerdict(Exception):
    """A reply without a verdict: which outcome that is, and why."""

    def __init__(self, outcome: Outcome, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


def read_reply(reply: Reply, fields: Mapping[str, Field], number: str) -> Found:
    """The fields of a reply.

    Prose around the object does not matter, nor do objects without the number, which an answer may have forged and
    the model repeated. Objects with it that differ are no verdict.

    Raises:
        NoVerdict: It holds none.
    """
    if reply.refusal is not None:
        raise NoVerdict(Outcome.REFUSED_TO_JUDGE, f"refused by the judge's provider: {reply.refusal[:200]}")
    if len(reply.text) > LONGEST_REPLY:
        raise NoVerdict(Outcome.UNPARSABLE, f"a reply of {len(reply.text):,} characters")
    text = _THOUGHT.sub("", reply.text)
    objects = _objects(text)
    ours = [each for each in objects if each.get(ID) == number]
    if not ours:
        raise _without(text, reply.finish, bool(objects))
    if any(each != ours[0] for each in ours):
        raise NoVerdict(Outcome.UNPARSABLE, "the reply holds verdicts that differ")
    return {name: _value(name, kind, ours[0]) for name, kind in fields.items()}


def _without(text: str, finish: str, has_objects: bool) -> NoVerdict:
    """Why a reply without our object is none."""
    if finish == "content_filter":
        return NoVerdict(Outcome.REFUSED_TO_JUDGE, "stopped by the provider's filter")
    if finish == "length":
        return NoVerdict(Outcome.UNPARSABLE, "the reply was cut at its token limit before a verdict was complete")
    if not text.strip():
        why = {"tool_calls": "a tool call alone", "no_choices": "the server's reply holds no choice"}
        return NoVerdict(Outcome.UNPARSABLE, why.get(finish, "no text"))
    if has_objects:
        return NoVerdict(Outcome.UNPARSABLE, "no JSON object of the reply bears the request's number")
    said = " ".join(text.split())[:200]
    if _DECLINES.match(text):
        return NoVerdict(Outcome.REFUSED_TO_JUDGE, f"declined: {said}")
    return NoVerdict(Outcome.UNPARSABLE, f"no whole JSON object: {said}")


def _value(name: str, kind: Field, found: Mapping[str, Any]) -> bool | str:
    if name not in found:
        raise NoVerdict(Outcome.UNPARSABLE, f"the verdict has no {name!r}")
    value = found[name]
    if kind == "bool" and type(value) is bool:
        return value
    if isinstance(kind, tuple) and isinstance(value, str) and value in kind:
        return value
    if kind in ("text", "quote") and isinstance(value, str):
        return cleaned(value)[:LONGEST_TEXT]
    raise NoVerdict(Outcome.UNPARSABLE, f"the verdict's {name!r} is {value!r}"[:200])


def _objects(text: str) -> list[dict[str, Any]]:
    """The outermost JSON objects of a text, in order.

    One that names a key twice is none.

    Raises:
        NoVerdict: There are more braces than anybody writes.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    found: list[dict[str, Any]] = []
    place = tried = 0
    while (place := text.find("{", place)) >= 0:
        tried += 1
        if tried > MOST_OBJECTS:
            raise NoVerdict(Outcome.UNPARSABLE, f"more than {MOST_OBJECTS} braces in the reply")
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            place += 1
        else:
            found.append(value)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise ValueError("a key twice")
    return read
