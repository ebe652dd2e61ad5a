"""Verdicts on requests from the hidden states of the engine behind.

The guard's joint head reads the state of a prompt's last position after the language model's last norm. An engine that
gives this state lets the guard judge text and images together without a prefill of its own.
"""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Sequence
from typing import Any, Protocol

from PIL import Image

from holisafe.errors import GuardError, RunError
from holisafe.guard import prompt_state, request_verdict
from holisafe.models.prompts import Prompt, template_options
from holisafe.models.prompts import messages as as_messages
from holisafe.records import ImageRef, RequestVerdict
from holisafe.serve.backend import ChatMessage, Picture, user_message
from holisafe.serve.errors import ApiError, guard_unavailable
from holisafe.serve.proxy_backend import message_as_sent
from holisafe.serve.upstream import Upstream

TOLERANCE = 0.05
"""Largest difference between the engine's state and the guard's own, as a share of its length: bfloat16 stays below."""


class States(Protocol):
    """An engine that gives hidden states."""

    async def last(self, messages: Sequence[ChatMessage]) -> list[float]:
        """The state (width,) of the last position of the prompt, generation prompt included.

        Raises:
            ApiError: It gives none.
        """

    async def close(self) -> None:
        """Close connections."""


class _Engine:
    """An engine that is asked over HTTP.

    Args:
        server: Where it is.
    """

    def __init__(self, server: Upstream) -> None:
        self._server = server
        self._model: str | None = None

    async def _ask(self, path: str, messages: Sequence[ChatMessage], **fields: Any) -> dict[str, Any]:
        if self._model is None:
            self._model = (await self._server.models())[0]
        sent = await asyncio.to_thread(_sent, messages)
        return await self._server.post(path, {"model": self._model, "messages": sent, **fields})

    async def close(self) -> None:
        """Close connections."""
        await self._server.close()


class PoolingStates(_Engine):
    """A vLLM that serves the model with `--runner pooling --convert embed`."""

    async def last(self, messages: Sequence[ChatMessage]) -> list[float]:
        """The embedding of the conversation, not normalised.

        Raises:
            ApiError: There is none.
        """
        whole = {"add_generation_prompt": True, "use_activation": False, "encoding_format": "float"}
        match await self._ask("/embeddings", messages, **whole):
            case {"data": [{"embedding": list(state)}]} if _is_state(state):
                return state
        raise guard_unavailable()


class HiddenStates(_Engine):
    """An SGLang that was started with `--enable-return-hidden-states`: a prefill and one token."""

    async def last(self, messages: Sequence[ChatMessage]) -> list[float]:
        """The hidden state that comes with the first token.

        Raises:
            ApiError: There is none.
        """
        fields = {"max_tokens": 1, "temperature": 0, "return_hidden_states": "last"}
        match await self._ask("/chat/completions", messages, **fields):
            case {"choices": [{"hidden_states": list(state)}]} if _is_state(state):
                return state
        raise guard_unavailable()


class RequestGuard:
    """Judges requests by the states of an engine that serves the guard's own model.

    Args:
        model: The model with the guard.
        processor: Its processor.
        states: The engine.
    """

    def __init__(self, model: Any, processor: Any, states: States) -> None:
        self._model = model
        self._processor = processor
        self._states = states

    async def judge(self, messages: Sequence[ChatMessage]) -> RequestVerdict:
        """The verdict on a request.

        Raises:
            ApiError: The request is one that the engine does not take.
            GuardError: The engine gives no state, or one that the guard does not read.
        """
        try:
            state = await self._states.last(messages)
        except ApiError as error:
            if error.status == 400:
                raise
            raise GuardError(f"the engine gives no hidden state: {error}") from error
        return await asyncio.to_thread(request_verdict, self._model, state)

    async def check(self) -> None:
        """Compare the engine's state of one prompt, with an image, with that of the guard's own model.

        Raises:
            RunError: The engine does not answer, or the two differ: it serves another model or template, or
                normalises its states.
            GuardError: The guard has no joint head, or cannot read another engine's states.
        """
        picture, question = _probe(), "What is shown here?"
        prompt = as_messages(Prompt.ask(question, picture))
        inputs = self._processor.apply_chat_template(prompt, return_dict=True, **template_options(self._processor))
        own = (await asyncio.to_thread(prompt_state, self._model, inputs)).tolist()
        try:
            found = await self._states.last([user_message([Picture(picture), question])])
        except ApiError as error:
            raise RunError(f"the engine that is to give hidden states gives none: {error}") from error
        if len(found) != len(own):
            raise RunError(
                f"the engine's hidden states have {len(found)} numbers, and the guard reads {len(own)}: it serves "
                "another model; serve the guard's own"
            )
        difference = math.dist(found, own) / math.hypot(*own)
        if not difference <= TOLERANCE:
            why = "it normalises them" if abs(math.hypot(*found) - 1) < 0.01 else "it serves another model or template"
            raise RunError(
                f"the engine's hidden states are not those that the guard reads (they differ by {difference:.0%} of "
                f"their length, at most {TOLERANCE:.0%} is rounding): {why}"
            )

    async def close(self) -> None:
        """Close connections."""
        await self._states.close()


def _sent(messages: Sequence[ChatMessage]) -> list[Any]:
    """The conversation with the images of a message before its text, as the guard was trained."""
    ordered = []
    for message in messages:
        parts: list[str | Picture] = [*message.pictures, *([message.text] if message.text else [])]
        ordered.append(message_as_sent(ChatMessage(message.role, tuple(parts), message.more)))
    return ordered


def _is_state(state: list[Any]) -> bool:
    return bool(state) and all(isinstance(number, (int, float)) for number in state)


def _probe() -> ImageRef:
    """A picture of two colours."""
    picture = Image.new("RGB", (64, 48), (200, 60, 40))
    picture.paste((30, 90, 160), (20, 10, 50, 40))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    return ImageRef("probe", data=encoded.getvalue())
