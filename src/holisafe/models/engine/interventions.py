"""What can change an answer while it is generated: guard policies, soft prompts, differences of logits.

An intervention belongs to a request, and sees its row of a batch alone. It has four points; each does nothing unless
it is overridden.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from holisafe._enums import parse_enum
from holisafe.guard.policy import Policy, decide
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


@dataclass(frozen=True)
class Intervention:
    """Four points at which a request's answer can be changed; derive from it and override those that you need.

    Interventions are immutable and may be shared by requests. Several of one request act in order, each on what the
    one before it returned.
    """

    def on_embeddings(self, embeddings: Tensor) -> Tensor:
        """Change what the language model reads of the prompt.

        Args:
            embeddings: Text and visual embeddings of the prompt without padding, (tokens, hidden).

        Returns:
            As many embeddings.
        """
        return embeddings

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

    Raises:
        UnknownNameError: There is no such policy.
    """

    policy: Policy = Policy.OBSERVE

    def __post_init__(self) -> None:
        """Read the policy's name."""
        object.__setattr__(self, "policy", parse_enum(Policy, self.policy))

    def on_prefill(self, verdict: GuardVerdict) -> Action | None:
        """Insert the note of a warning, or end with the refusal."""
        text = decide(self.policy, verdict.images, verdict.request).text
        if not text:
            return None
        return End(text) if self.policy is Policy.REFUSE else Insert(f"{text}\n\n")


def changes_embeddings(interventions: tuple[Intervention, ...]) -> bool:
    """Whether any of them overrides `on_embeddings`."""
    return any(type(each).on_embeddings is not Intervention.on_embeddings for each in interventions)


def changes_tokens(interventions: tuple[Intervention, ...]) -> bool:
    """Whether any of them overrides `on_logits`."""
    return any(type(each).on_logits is not Intervention.on_logits for each in interventions)
