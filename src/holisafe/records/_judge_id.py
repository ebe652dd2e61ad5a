"""Which judge or guard: what its identity is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JudgeId:
    """Which judge: two judgements can be compared, or one reused, only where all of this is equal.

    Attributes:
        name: The name it is registered under, parameters included.
        version: Changes whenever the same response could get another judgement (parser, rules, prompt).
        model: The model that it asks; empty for rules.
        prompt: SHA-256 of its prompt, in hex; empty where it has none.
    """

    name: str
    version: str = ""
    model: str = ""
    prompt: str = ""

    def to_json(self) -> dict[str, str]:
        """JSON values: `{name, version, model, prompt}`."""
        return {"name": self.name, "version": self.version, "model": self.model, "prompt": self.prompt}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> JudgeId:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError: It is not such an object.
        """
        return JudgeId(*(str(data[field]) for field in ("name", "version", "model", "prompt")))
