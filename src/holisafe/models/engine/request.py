"""What goes into the engine, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import NoneType

from holisafe._checks import check_each, check_type
from holisafe.models.engine.interventions import Intervention
from holisafe.models.engine.options import GenerationOptions
from holisafe.models.engine.output import OutputGuard
from holisafe.models.prompts import Prompt
from holisafe.records import AnswerVerdict, GuardVerdict


class FinishReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model ended it, or a stop text occurred."""
    LENGTH = "length"
    """It reached the maximum number of new tokens, or the end of the model's context."""
    INTERVENTION = "intervention"
    """An intervention ended it."""
    BLOCKED = "blocked"
    """The guard stopped it by what had been generated."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, and how it is to be answered.

    Attributes:
        prompt: The prompt.
        options: Settings of the answer.
        interventions: What may change it.
        output: Has the guard judge the answer while it is generated; None for no verdict on it.
    """

    prompt: Prompt
    options: GenerationOptions = field(default_factory=GenerationOptions)
    interventions: tuple[Intervention, ...] = ()
    output: OutputGuard | None = None

    def __post_init__(self) -> None:
        """Refuse what the engine's thread could not work with."""
        check_type(self.prompt, Prompt, "prompt")
        check_type(self.options, GenerationOptions, "options")
        check_each(self.interventions, Intervention, "interventions")
        check_type(self.output, (OutputGuard, NoneType), "output")
        object.__setattr__(self, "interventions", tuple(self.interventions))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model answered.

    Attributes:
        text: The answer without special tokens; of a blocked one, what a stream has told of it, and the refusal.
        tokens: Its token ids as generated, the end token left out; of a blocked one, those that were let through.
        finish_reason: Why it ended.
        input_tokens: Length of the prompt in tokens, visual tokens included.
        verdict: What the model's guard says of the prompt; empty without a guard.
        output: What it says of the answer; None where that was not asked for.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    input_tokens: int
    verdict: GuardVerdict = field(default_factory=GuardVerdict)
    output: AnswerVerdict | None = None


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
class OutputEvent:
    """The guard has judged the answer so far.

    Attributes:
        verdict: With every check until now.
        blocked: Whether the answer ends here: a refusal follows as the last text.
    """

    verdict: AnswerVerdict
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class FinishEvent:
    """The whole answer."""

    answer: Answer


Event = VerdictEvent | TokenEvent | OutputEvent | FinishEvent
