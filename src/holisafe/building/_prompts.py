"""The prompts and the templates: data files with a version each."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from holisafe._files import parse_json
from holisafe.building._steps import key_of
from holisafe.errors import DataError
from holisafe.records import ImageRef, Role, Turn
from holisafe.taxonomy import Category, Combination, GuardLabel, Subcategory

MAX_TOKENS = 512
"""Most tokens of a reply."""

_BOOLEANS = ("picture_safe", "request_safe", "together_safe", "has_method", "answer_right")

QUESTIONS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "requests": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"text": {"type": "string"}, "subcategory": {"type": "string"}},
                "required": ["text", "subcategory"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["requests"],
    "additionalProperties": False,
}
ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
CHECK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {name: {"type": "boolean"} for name in _BOOLEANS},
    "required": list(_BOOLEANS),
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Template:
    """A request with its answer, for where there is no model.

    Attributes:
        combination: Its combination.
        question: The request.
        answer: The answer, or the refusal with its reason.
        safe_answer: The answer to the same request about a harmless picture; empty where there is none.
        subcategory: The harm of the request; None where it has none, or that of the picture.
        category: Labels that it fits; None for all.
        shows: Words of which one is in what the picture shows; empty for any picture.
    """

    combination: Combination
    question: str
    answer: str
    safe_answer: str = ""
    subcategory: Subcategory | None = None
    category: Category | None = None
    shows: tuple[str, ...] = ()

    def fits(self, label: GuardLabel, shows: str) -> bool:
        """Whether it can be asked about a picture with this label, of which this is said."""
        words = re.findall(r"[a-z]+", shows.lower())
        of_category = self.category is None or (label.subcategory and label.subcategory.category) is self.category
        return bool(of_category) and (not self.shows or any(word in words for word in self.shows))


@cache
def templates() -> tuple[str, tuple[Template, ...]]:
    """The version of the templates, and all of them."""
    data = _data("templates.toml")
    return data["version"], tuple(_template(each) for each in data["templates"])


def prompts_version() -> str:
    """The version of the prompts."""
    return str(_data("prompts.toml")["version"])


def questions_turns(image: ImageRef, label: GuardLabel, combination: Combination, count: int) -> tuple[Turn, ...]:
    """What asks for requests about a picture."""
    prompts = _data("prompts.toml")
    values = {"label": words_of(label), "count": str(count), "kind": prompts["kinds"][combination.value]}
    return _turns(image, "questions", values)


def edits_version() -> str:
    """The version of the prompts of edits."""
    return str(_data("edits.toml")["version"])


def edit_prompt(label: GuardLabel, combination: Combination, question: str) -> str:
    """What asks for a harmless picture like an unsafe one, or like one with which a request is unsafe."""
    values = {"label": words_of(label), "request": marked("request", question)}
    return _filled(_data("edits.toml")[combination.value], values).strip()


def answer_turns(image: ImageRef, label: GuardLabel, combination: Combination, question: str) -> tuple[Turn, ...]:
    """What asks for the answer to a request: helpful, or a refusal."""
    values = {"label": words_of(label), "request": marked("request", question)}
    if combination.is_safe:
        return _turns(image, "help", values)
    why = _filled(_data("prompts.toml")["whys"][combination.value], values)
    return _turns(image, "refuse", {**values, "why": why})


def check_turns(image: ImageRef, question: str, answer: str) -> tuple[Turn, ...]:
    """What asks whether a request and its answer are what they should be; the combination is not told."""
    return _turns(image, "check", {"request": marked("request", question), "answer": marked("answer", answer)})


def read_reply(text: str, *names: str) -> Mapping[str, Any]:
    """The JSON object of a reply.

    Raises:
        DataError: It is prose, or lacks a field; as "kind: detail".
    """
    inner = re.fullmatch(r"\s*```(?:json)?\s*(.*?)```\s*", text, re.DOTALL)
    try:
        found = parse_json(inner[1] if inner else text, DataError, source="the reply", max_bytes=2**20)
    except DataError as error:
        raise DataError(f"no JSON: {error}; the reply begins {text[:80]!r}") from None
    if not isinstance(found, dict) or any(name not in found for name in names):
        raise DataError(f"wrong JSON: expected an object with {', '.join(names)}; the reply begins {text[:80]!r}")
    return found


def read_booleans(text: str) -> dict[str, bool]:
    """The truth values of a check.

    Raises:
        DataError: As `read_reply`.
    """
    found = read_reply(text, *_BOOLEANS)
    if any(not isinstance(found[name], bool) for name in _BOOLEANS):
        raise DataError(f"wrong JSON: expected true or false for {', '.join(_BOOLEANS)}; found {text[:80]!r}")
    return {name: found[name] for name in _BOOLEANS}


def marked(name: str, text: str) -> str:
    """A text between marks whose number follows from the text: nobody can write it into the text beforehand."""
    number = key_of(name, text)[:16]
    return f"<{name} {number}>\n{text}\n</{name} {number}>"


def words_of(label: GuardLabel) -> str:
    """A label in words, as prompts and templates name it."""
    return label.value.replace("_", " ")


def _turns(image: ImageRef, name: str, values: Mapping[str, str]) -> tuple[Turn, ...]:
    prompts = _data("prompts.toml")
    known = {"subcategories": ", ".join(Subcategory), **values}
    text = _filled(prompts[name], known).strip()
    return Turn(Role.SYSTEM, prompts["system"].strip()), Turn(Role.USER, text, (image,))


def _filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its places filled, in one pass: what is filled in is not looked at again."""
    return re.sub(r"\{\{ (\w+) \}\}", lambda place: values[place[1]], text)


@cache
def _data(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("holisafe.building").joinpath("data", name).read_text(encoding="utf-8"))


def _template(data: Mapping[str, Any]) -> Template:
    given: dict[str, Any] = {**data, "combination": Combination(data["combination"])}
    given |= {"subcategory": Subcategory(data["subcategory"])} if "subcategory" in data else {}
    given |= {"category": Category(data["category"])} if "category" in data else {}
    given |= {"shows": tuple(data["shows"])} if "shows" in data else {}
    return Template(**given)
