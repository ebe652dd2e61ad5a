"""What a judge asks a model, declared in a TOML file: two messages, the fields of the reply, outcomes that follow."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from holisafe.errors import JudgeError
from holisafe.records import Behaviour, Outcome

LARGEST_FILE = 2**20
"""Bytes of a prompt file."""

MOST_TOKENS = 32_768
"""Most tokens that a judge's reply may be given."""

EXPECTED = "expected"
"""What is right for the sample ("answer" or "refuse"): a variable of templates and a key of conditions."""

ID = "id"
"""Key of the reply that repeats the request's number; no field may be called so."""

VARIABLES = ("request", "answer", "reply_format", EXPECTED)
"""What a template may use."""

_KINDS = ("bool", "text", "quote")
_KEYS = {"system", "user", "show_images", "structured", "max_tokens", "fields", "outcomes"}
_GIVEN = tuple(outcome for outcome in Outcome if outcome.value in ("refused", "answered", "unhelpful", "harmful"))

Field = str | tuple[str, ...]
"""Kind of a field: "bool", "text", "quote", or the words of which it is one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The outcome where every named field has that value."""

    outcome: Outcome
    when: Mapping[str, bool | str]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A judge's request and what follows from the reply.

    Attributes:
        system: Template of the system message; empty for none.
        user: Template of the user message; the images, if shown, come with it.
        fields: Name of each field of the reply → its kind.
        rules: The first that holds gives the outcome; the last always holds.
        show_images: Whether the model sees the images.
        structured: Whether a schema of the reply is sent too.
        max_tokens: Most tokens of the reply.
        needs_expected: Whether the model or a rule is told what is right.
        digest: SHA-256 of all of this, in hex.
    """

    system: str
    user: str
    fields: Mapping[str, Field]
    rules: tuple[Rule, ...]
    show_images: bool
    structured: bool
    max_tokens: int
    needs_expected: bool
    digest: str

    def outcome(self, found: Mapping[str, bool | str]) -> Outcome:
        """The outcome of the first rule that holds."""
        holding = (rule for rule in self.rules if all(found[key] == value for key, value in rule.when.items()))
        return next(holding).outcome


def read_declaration(data: bytes, source: str) -> Declaration:
    """Read and check a prompt file.

    Args:
        data: Its bytes.
        source: Its name, for messages.

    Raises:
        JudgeError: It is not such a file; names the field.
    """
    try:
        given = tomllib.loads(data.decode("utf-8"))
        return _read(given)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise JudgeError(f"{source}: no TOML in UTF-8: {error}") from error
    except RecursionError as error:
        raise JudgeError(f"{source}: nested too deeply; a prompt file holds texts and two flat tables") from error
    except _Wrong as error:
        raise JudgeError(f"{source}: {error}; docs/model-judges.md describes the file") from error


def render(template: str, variables: Mapping[str, str]) -> str:
    """A template with its variables filled in, in a sandbox.

    Raises:
        JudgeError: The template fails on them.
    """
    try:
        return _environment().from_string(template).render(**variables)
    except Exception as error:  # a template runs code of its author: it may fail in any way
        raise JudgeError(f"the judge's template failed: {type(error).__name__}: {error}"[:500]) from error


class _Wrong(Exception):
    """What is wrong with a file."""


def _read(given: Mapping[str, Any]) -> Declaration:
    if unknown := sorted(given.keys() - _KEYS):
        raise _Wrong(f"unknown key {unknown[0]!r}; expected {', '.join(sorted(_KEYS))}")
    system, user = _of(given, "system", str, ""), _of(given, "user", str, None)
    for name, needed in (("request", user), ("answer", user), ("reply_format", system + user)):
        if name not in needed:
            raise _Wrong(f"'user' has no {{{{ {name} }}}}, without which the model cannot judge")
    _try(system, user)
    fields = {name: _field(name, kind) for name, kind in _of(given, "fields", dict, None).items()}
    rules = _rules(_of(given, "outcomes", list, None), fields)
    max_tokens = _of(given, "max_tokens", int, 1024)
    if not 1 <= max_tokens <= MOST_TOKENS:
        raise _Wrong(f"'max_tokens' is {max_tokens}, expected 1 to {MOST_TOKENS}")
    told = EXPECTED in system + user or any(EXPECTED in rule.when for rule in rules)
    digest = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()
    shown, structured = _of(given, "show_images", bool, True), _of(given, "structured", bool, False)
    return Declaration(system, user, fields, rules, shown, structured, max_tokens, told, digest)


def _of(given: Mapping[str, Any], key: str, kind: type, otherwise: Any) -> Any:
    value = given.get(key, otherwise)
    if value is None:
        raise _Wrong(f"no {key!r}")
    if type(value) is not kind:
        raise _Wrong(f"{key!r} is of type {type(value).__name__}, expected {kind.__name__}")
    return value


def _try(system: str, user: str) -> None:
    """Fill both templates in once, so that a fault shows before anything is asked."""
    for name, template in (("system", system), ("user", user)):
        try:
            _environment().from_string(template)
            render(template, dict.fromkeys(VARIABLES, "x"))
        except (TemplateError, JudgeError) as error:
            raise _Wrong(f"template {name!r}: {error}; variables are {', '.join(VARIABLES)}") from error


def _field(name: str, kind: Any) -> Field:
    if not name.isidentifier() or name in (ID, EXPECTED):
        raise _Wrong(f"a field cannot be called {name!r}")
    if kind in _KINDS:
        return str(kind)
    if isinstance(kind, list) and len(kind) > 1 and all(isinstance(each, str) and each for each in kind):
        return tuple(kind)
    raise _Wrong(f"field {name!r} is {kind!r}, expected one of {', '.join(_KINDS)}, or a list of at least two words")


def _rules(given: list[Any], fields: Mapping[str, Field]) -> tuple[Rule, ...]:
    rules = tuple(_rule(each, fields, place) for place, each in enumerate(given, start=1))
    if not rules or rules[-1].when or not all(rule.when for rule in rules[:-1]):
        raise _Wrong("'outcomes' must end in the one entry without 'when', which holds for the rest")
    return rules


def _rule(given: Any, fields: Mapping[str, Field], place: int) -> Rule:
    where = f"entry {place} of 'outcomes'"
    if not isinstance(given, dict) or not {"outcome"} <= given.keys() <= {"outcome", "when"}:
        raise _Wrong(f"{where} needs 'outcome', may have 'when', and nothing else")
    if given["outcome"] not in [each.value for each in _GIVEN]:
        raise _Wrong(f"{where}: outcome {given['outcome']!r}, expected {', '.join(_GIVEN)}")
    when = given.get("when", {})
    if not isinstance(when, dict):
        raise _Wrong(f"{where}: 'when' is no table")
    for key, value in when.items():
        kind: Field | None = tuple(Behaviour) if key == EXPECTED else fields.get(key)
        fits = type(value) is bool if kind == "bool" else isinstance(kind, tuple) and value in kind
        if not fits:
            raise _Wrong(f"{where}: {key} = {value!r} fits no field; conditions are on bools, words and {EXPECTED!r}")
    return Rule(Outcome(given["outcome"]), when)


def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=False, autoescape=False)
