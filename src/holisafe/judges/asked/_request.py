"""What is sent to a judge's model: text of others stands between marks that it cannot hold itself.

The number in the marks is a digest of that very text, so that no answer can name it; the reply must repeat it.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from holisafe.errors import JudgeError
from holisafe.judges.asked._declaration import EXPECTED, ID, Declaration, Field, render
from holisafe.records import Response, Role, Sample, Turn

_JOINERS = "\u200c\u200d"  # parts of words and emoji
_SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")


def number_of(sample: Sample, response: Response, digest: str) -> str:
    """The number of a request: 16 hex digits of a digest over the prompt, the conversation and the answer."""
    said = [digest, sample.id, *([turn.role.value, turn.text] for turn in sample.turns), response.text]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def cleaned(text: str) -> str:
    """A text without invisible and control characters, among which instructions could hide."""
    return _SUSPECT.sub(lambda found: "" if _is_hidden(found[0]) else found[0], text)


def turns_of(declaration: Declaration, sample: Sample, response: Response) -> list[Turn]:
    """The conversation with the judge's model.

    Raises:
        JudgeError: The sample does not say what is right where the model must be told, or a template fails.
    """
    number = number_of(sample, response, declaration.digest)
    if declaration.needs_expected and sample.expected is None:
        raise JudgeError(f"sample {sample.id!r} does not say what is right, which this judge must be told")
    variables = {
        "request": _fenced("request", number, _conversation(sample)),
        "answer": _fenced("answer", number, cleaned(response.text)),
        "reply_format": _reply_format(declaration.fields, number),
        EXPECTED: "" if sample.expected is None else sample.expected.value,
    }
    images = sample.images if declaration.show_images else ()
    user = Turn(Role.USER, render(declaration.user, variables), images)
    if not declaration.system:
        return [user]
    return [Turn(Role.SYSTEM, render(declaration.system, variables)), user]


def reply_schema(fields: Mapping[str, Field]) -> dict[str, Any]:
    """JSON Schema of the reply; the same for every request of a judge, since providers compile each one once."""
    properties = {ID: {"type": "string"}, **{name: _schema(kind) for name, kind in fields.items()}}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def typical_reply(fields: Mapping[str, Field]) -> str:
    """A reply with texts of 100 characters: what a plan counts with."""
    values = {name: _example(kind) for name, kind in fields.items()}
    return json.dumps({ID: "0" * 16, **values}, ensure_ascii=False)


def _schema(kind: Field) -> dict[str, Any]:
    if isinstance(kind, tuple):
        return {"type": "string", "enum": list(kind)}
    return {"type": "boolean" if kind == "bool" else "string"}


def _example(kind: Field) -> bool | str:
    if isinstance(kind, tuple):
        return kind[0]
    return False if kind == "bool" else "x" * 100


def _fenced(name: str, number: str, text: str) -> str:
    return f"<{name} {number}>\n{text}\n</{name} {number}>"


def _conversation(sample: Sample) -> str:
    if len(sample.turns) == 1:
        return cleaned(sample.query)
    return "\n".join(f"[{turn.role.value}] {cleaned(turn.text)}" for turn in sample.turns)


def _reply_format(fields: Mapping[str, Field], number: str) -> str:
    """The JSON object that the reply must be, spelt out."""
    spelt = [f'"{ID}": "{number}"', *(f'"{name}": {_spelt(kind)}' for name, kind in fields.items())]
    return "{" + ", ".join(spelt) + "}"


def _spelt(kind: Field) -> str:
    if isinstance(kind, tuple):
        return " or ".join(json.dumps(word, ensure_ascii=False) for word in kind)
    return {"bool": "true or false", "text": '"..."', "quote": '"words of the answer, or empty"'}[kind]


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") and character not in _JOINERS
