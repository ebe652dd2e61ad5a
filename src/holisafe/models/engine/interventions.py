"""What can change an answer while it is generated: guard policies, soft prompts, differences of logits.

An intervention belongs to a request, and sees its row of a batch alone. It has five points; each does nothing unless
it is overridden.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from holisafe._enums import parse_enum
from holisafe.guard.policy import DecideBy, Policy, decide
from holisafe.records import GuardVerdict


@dataclass(frozen=True, slots=True)
class Insert:
    """Put a text into the answer and continue; the model does not read it."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """End the answer here, with a text of one's own after what has been generated."""

    text: str = ""


Action = Insert | End


class Stream(StrEnum):
    """What of a decoder layer is seen."""

    INPUT = "input"
    """The residual stream as the layer reads it."""
    ATTENTION = "attention"
    """What its attention adds to the stream."""
    MLP = "mlp"
    """What its feed-forward part adds to the stream."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the language model.

    Attributes:
        layer: Which decoder layer, from 0.
        stream: What of it.
    """

    layer: int
    stream: Stream = Stream.INPUT


@dataclass(frozen=True)
class Intervention:
    """Five points at which a request's answer can be changed; derive from it and override those that you need.

    One that keeps something from step to step belongs to one request; others may be shared. Several of one request act
    in order, each on what the one before it returned.
    """

    def on_embeddings(self, embeddings: Tensor) -> Tensor:
        """Change what the language model reads of the prompt.

        Args:
            embeddings: Text and visual embeddings of the prompt without padding, (tokens, hidden).

        Returns:
            As many embeddings.
        """
        return embeddings

    def on_hidden(self, place: Place, step: int, states: Tensor) -> Tensor:
        """Change states inside the language model.

        Args:
            place: Where they are.
            step: 0 for the prompt, then the number of tokens generated so far.
            states: (tokens, hidden): of the prompt without padding at step 0, then of one token.

        Returns:
            States of the same shape; the same object for no change.
        """
        return states

    def on_prefill(self, verdict: GuardVerdict) -> Action | None:
        """Act once the prompt has been read, before the first token.

        Args:
            verdict: The guard's; empty where the model has no guard.
        """
        return None

    def on_logits(self, step: int, logits: Tensor) -> Tensor:
        """Change the logits of the next token.

        Args:
            step: Number of tokens generated so far.
            logits: (vocabulary,).

        Returns:
            Logits of the same shape.
        """
        return logits

    def on_token(self, step: int, token: int) -> Action | None:
        """Act after a token has been chosen.

        Args:
            step: Its place in the answer, from 0.
            token: Its id.
        """
        return None


@dataclass(frozen=True)
class PolicyIntervention(Intervention):
    """The guard's policy: report a flag, put a note before the answer, or refuse in its place.

    Attributes:
        policy: A policy or its name.
        decide_by: The verdict that flags, or its name.

    Raises:
        UnknownNameError: There is no such policy or verdict.
    """

    policy: Policy = Policy.OBSERVE
    decide_by: DecideBy = DecideBy.REQUEST

    def __post_init__(self) -> None:
        """Read the names."""
        object.__setattr__(self, "policy", parse_enum(Policy, self.policy))
        object.__setattr__(self, "decide_by", parse_enum(DecideBy, self.decide_by))

    def on_prefill(self, verdict: GuardVerdict) -> Action | None:
        """Insert the note of a warning, or end with the refusal."""
        text = decide(self.policy, verdict.images, verdict.request, self.decide_by).text
        if not text:
            return None
        return End(text) if self.policy is Policy.REFUSE else Insert(f"{text}\n\n")


def changes_embeddings(interventions: tuple[Intervention, ...]) -> bool:
    """Whether any of them overrides `on_embeddings`."""
    return any(type(each).on_embeddings is not Intervention.on_embeddings for each in interventions)


def changes_hidden(interventions: tuple[Intervention, ...]) -> bool:
    """Whether any of them overrides `on_hidden`."""
    return any(type(each).on_hidden is not Intervention.on_hidden for each in interventions)


def changes_tokens(interventions: tuple[Intervention, ...]) -> bool:
    """Whether any of them overrides `on_logits`."""
    return any(type(each).on_logits is not Intervention.on_logits for each in interventions)
