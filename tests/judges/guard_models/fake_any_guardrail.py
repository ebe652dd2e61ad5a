"""A stand-in for the package any-guardrail 0.7.7: the same names and shapes, guardrails that say what they are told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import Any


class GuardrailName(StrEnum):
    WILD_GUARD = "wild_guard"
    QWEN3_GUARD = "qwen3_guard"
    DUOGUARD = "duo_guard"
    SENTINEL = "sentinel"


class GuardrailStage(StrEnum):
    INPUT = "input"
    OUTPUT = "output"


@dataclass
class CategoryResult:
    name: str
    triggered: bool | None = None


@dataclass
class GuardrailUsage:
    model_id: str | None = None


@dataclass
class GuardrailOutput:
    valid: bool
    explanation: str | None = None
    score: float | None = None
    categories: list[CategoryResult] = field(default_factory=list)
    usage: GuardrailUsage | None = None
    extra: dict[str, Any] | None = None


@dataclass
class GuardrailMetadata:
    stages: frozenset[GuardrailStage]


class EvaluateArgumentError(ValueError):
    pass


def fake(says: GuardrailOutput | Exception, asked: list[tuple[str, str | None]]) -> ModuleType:
    """The package, whose guardrails say one thing."""
    module = ModuleType("any_guardrail")

    class AnyGuardrail:
        @classmethod
        def metadata(cls, name: GuardrailName) -> GuardrailMetadata:
            stages = {GuardrailStage.INPUT} | ({GuardrailStage.OUTPUT} if name is not GuardrailName.SENTINEL else set())
            return GuardrailMetadata(frozenset(stages))

        @classmethod
        def create(cls, name: GuardrailName, provider: Any = None, **kwargs: Any) -> Any:
            if isinstance(says, Exception):
                raise says
            return name, kwargs

        @classmethod
        def evaluate(
            cls, name: GuardrailName, guardrail: Any, prompt: str, response: str | None = None, **kwargs: Any
        ) -> GuardrailOutput:
            if response is not None and name is GuardrailName.DUOGUARD:
                raise EvaluateArgumentError("no response slot")
            asked.append((prompt, response))
            assert isinstance(says, GuardrailOutput)
            return says

    for part in (AnyGuardrail, GuardrailName, GuardrailStage, GuardrailOutput, EvaluateArgumentError):
        setattr(module, part.__name__, part)
    return module
