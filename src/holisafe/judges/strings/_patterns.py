"""The rules of judge `refusal`: patterns per language, read from the files in judges/data/refusal."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from holisafe.errors import JudgeError

_FOLDER = files("holisafe.judges") / "data" / "refusal"
_NAME = re.compile(r"<([A-Z_]+)>")


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of one language.

    Attributes:
        name: The language in English.
        patterns: Groups of patterns by name, compiled as one.
    """

    name: str
    patterns: Mapping[str, re.Pattern[str]]

    def find(self, group: str, text: str) -> re.Match[str] | None:
        """The first match of a group; None where there is none."""
        return self.patterns[group].search(text)


@cache
def rules(language: str) -> Rules:
    """The rules of a language by its code, such as "en".

    Raises:
        JudgeError: A pattern of its file is none.
    """
    data = read(language)
    named = {name: _one_of(words) for name, words in data.get("words", {}).items()}
    for name, pattern in data.get("parts", {}).items():
        named[name] = _NAME.sub(lambda found: named[found[1]], pattern)
    compiled = {}
    for group, patterns in data["patterns"].items():
        try:
            compiled[group] = re.compile("|".join(_NAME.sub(lambda found: named[found[1]], one) for one in patterns))
        except (re.error, KeyError) as error:
            raise JudgeError(
                f"{language}.toml, group {group!r} of judge 'refusal': {error}; mend the pattern"
            ) from error
    return Rules(data["name"], compiled)


def read(name: str) -> dict[str, Any]:
    """One of the files as it is."""
    return tomllib.loads(text_of(name))


def text_of(name: str) -> str:
    """The text of one of the files."""
    return (_FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def languages() -> tuple[str, ...]:
    """Codes of the languages that there are rules for."""
    found = (entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir() if entry.name.endswith(".toml"))
    return tuple(sorted(name for name in found if name != "languages"))


def _one_of(words: str) -> str:
    return "(?:" + "|".join(words.split()).replace("_", " ") + ")"
