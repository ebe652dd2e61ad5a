"""What answers behind the router: this process's model, or another server.

A backend yields the verdict first. It does nothing more until it is asked for the next event, so a caller that stops
after the verdict has asked the model for nothing. Only a request that says `ahead` may begin
while the guard judges.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from holisafe.records import CHECK_EVERY, AnswerVerdict, GuardVerdict, ImageRef, Role
from holisafe.serve.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that was let in.

    Attributes:
        ref: Its bytes and digest.
        detail: How closely a client wants it looked at.
    """

    ref: ImageRef
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message.

    Attributes:
        role: "system", "developer", "user", "assistant" or "tool".
        parts: Texts and images, in the client's order.
        more: Further fields of the message that a server behind may read, such as `tool_calls`.
    """

    role: str
    parts: tuple[str | Picture, ...]
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Its texts, joined."""
        return "\n".join(part for part in self.parts if isinstance(part, str))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Its images."""
        return tuple(part for part in self.parts if isinstance(part, Picture))


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for an answer, read and checked.

    Attributes:
        messages: The conversation.
        max_new_tokens: Maximum number of new tokens; None to leave it to a server behind.
        temperature: Temperature; None where the client gave none.
        top_p: Nucleus; None where the client gave none.
        top_k: Most probable tokens; None where the client gave none.
        seed: Of sampling.
        stop: Texts before which the answer ends.
        stream: Whether the answer is wanted as it is generated.
        output: What a flag on the answer leads to ("score" or "block"); None for no verdict on it.
        output_every: Tokens between two checks of the answer.
        ahead: Whether another server may be asked while the guard judges, since no flag holds the answer back.
        more: Further fields that a server behind may read, by OpenAI's names.
    """

    messages: tuple[ChatMessage, ...]
    max_new_tokens: int | None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stream: bool = False
    output: str | None = None
    output_every: int = CHECK_EVERY
    ahead: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """All images, in order."""
        return images_of(self.messages)


def images_of(messages: Sequence[ChatMessage]) -> tuple[ImageRef, ...]:
    """All images of a conversation, in order."""
    return tuple(picture.ref for message in messages for picture in message.pictures)


def user_message(parts: Sequence[str | Picture]) -> ChatMessage:
    """A conversation of one message."""
    return ChatMessage(Role.USER.value, tuple(parts))


@dataclass(frozen=True, slots=True)
class Judged:
    """The guard has read the request; the first event.

    Attributes:
        verdict: None where the guard could not judge.
        input_tokens: Tokens read for it; 0 where no language model has read the prompt.
    """

    verdict: GuardVerdict | None
    input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """More of the answer: fields of a chat message, such as `{"content": " and"}`."""

    fields: Mapping[str, Any]
    logprobs: Any = None


@dataclass(frozen=True, slots=True)
class OutputJudged:
    """The guard has judged the answer so far.

    Attributes:
        verdict: With every check until now.
        refusal: What stands in place of the rest of the answer, which ends here; None where it goes on.
    """

    verdict: AnswerVerdict
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole.

    Attributes:
        reason: OpenAI's `finish_reason`.
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens of the answer.
    """

    reason: str
    input_tokens: int
    output_tokens: int


Event = Judged | Delta | OutputJudged | Finished


class Backend(Protocol):
    """What answers and judges."""

    @property
    def judges_text(self) -> bool:
        """Whether its guard has something to say of a request without images."""

    @property
    def judges_output(self) -> bool:
        """Whether its guard judges answers while they are generated."""

    @property
    def passes_on(self) -> bool:
        """Whether fields that the engine cannot serve, such as tools, reach a server that may."""

    def count_in(self, metrics: Metrics) -> None:
        """Count there what a backend alone knows of; called once, before anything is asked."""

    async def models(self) -> Sequence[str]:
        """Names by which it is asked; the first is taken where a client names none."""

    async def judge(self, messages: Sequence[ChatMessage]) -> GuardVerdict:
        """A verdict without an answer.

        Raises:
            HoliSafeError: There is none.
        """

    def answer(self, ask: Ask, model: str) -> AsyncGenerator[Event]:
        """The verdict, then the answer. Closing it ends the answer."""

    async def close(self) -> None:
        """Stop."""
