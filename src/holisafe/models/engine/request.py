"""What goes into the engine, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from holisafe._checks import check_each, check_type
from holisafe.models.engine.interventions import Intervention
from holisafe.models.engine.options import GenerationOptions
from holisafe.models.prompts import Prompt
from holisafe.records import GuardVerdict


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended it, or a stop text occurred."""
    LENGTH = "length"
    """It reached the maximum number of new tokens, or the end of the model's context."""
    INTERVENTION = "intervention"
    """An intervention ended it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, and how it is to be answered."""

    prompt: Prompt
    options: GenerationOptions = field(default_factory=GenerationOptions)
    interventions: tuple[Intervention, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what the engine's thread could not work with."""
        check_type(self.prompt, Prompt, "prompt")
        check_type(self.options, GenerationOptions, "options")
        check_each(self.interventions, Intervention, "interventions")
        object.__setattr__(self, "interventions", tuple(self.interventions))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model answered.

    Attributes:
        text: The answer without special tokens.
        tokens: Its token ids as generated, the end token left out.
        finish_reason: Why it ended.
        input_tokens: Length of the prompt in tokens, visual tokens included.
        verdict: What the model's guard says of the prompt; empty without a guard.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    input_tokens: int
    verdict: GuardVerdict = field(default_factory=GuardVerdict)


@dataclass(frozen=True, slots=True)
class VerdictEvent:
    """The guard's verdict, before the first token; empty without a guard.

    Attributes:
        verdict: On the prompt.
        input_tokens: Length of the prompt in tokens, visual tokens included.
    """

    verdict: GuardVerdict
    input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """More of the answer's text; all of them joined are the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class FinishEvent:
    """The whole answer."""

    answer: Answer


Event = VerdictEvent | TokenEvent | FinishEvent
