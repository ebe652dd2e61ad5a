"""Models behind Inspect's interface: counted while they answer, made storable, closed as their provider asks.

Inspect reaches the server, retries and gives up. What a server sends is untrusted: text that no file can hold, errors
that echo a key, a finish reason that Inspect does not know. All of it passes here before Inspect's log sees it.
"""

from __future__ import annotations

import asyncio
import base64
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from inspect_ai.model import ChatMessage, ContentImage, GenerateConfig, Model, ModelCall, ModelOutput
from inspect_ai.model._providers.mockllm import MockLLM
from inspect_ai.tool import ToolChoice, ToolInfo
from pydantic import ValidationError

from holisafe._loops import in_running_loop
from holisafe.bench._spending import PAYING
from holisafe.bench._text import encodable_values, redacted
from holisafe.bench._tokens import image_rule, input_tokens, text_tokens
from holisafe.errors import HoliSafeError, ModelError
from holisafe.records import ImageRef, Role, Turn

FINISH = "holisafe_finish"
"""Where an output's metadata keep the provider's own finish reason, if Inspect does not know it."""

_ODD_REPLY = (AttributeError, IndexError, KeyError, TypeError, ValidationError)
"""What Inspect's providers raise where a server sends fields of another type."""

T = TypeVar("T")
Result = ModelOutput | tuple[ModelOutput | Exception, ModelCall]


@dataclass
class Traffic:
    """Requests of one run: those that wait for an answer, and how many failed and are tried again.

    Attributes:
        told: Called with both numbers whenever one changes.
    """

    waiting: int = 0
    retries: int = 0
    told: Callable[[int, int], None] | None = None

    def count(self, waiting: int = 0, retries: int = 0) -> None:
        """Add to the numbers."""
        self.waiting += waiting
        self.retries += retries
        if self.told is not None:
            self.told(self.waiting, self.retries)


def prepared(model: Model, traffic: Traffic | None = None) -> Model:
    """The model, whose answers and errors pass here from now on; a model prepared before stays as it is."""
    if not isinstance(model.api.generate, _Generate):
        if isinstance(model.api, MockLLM):  # the token table it would count with is fetched from the network
            model.api.count_text_tokens = _count_words  # type: ignore[method-assign]
        model.api.generate = _Generate(model, traffic or Traffic())  # type: ignore[method-assign]
    return model


def takes_schema(model: Model) -> bool:
    """Whether the server of a prepared model has not refused a schema of the reply so far."""
    generate = model.api.generate
    return isinstance(generate, _Generate) and generate.takes_schema


def leave_out_schema(model: Model) -> None:
    """Note that the server of a prepared model refuses a schema of the reply."""
    if isinstance(model.api.generate, _Generate):
        model.api.generate.takes_schema = False


class _Generate:
    """`ModelAPI.generate` of one model, with what comes back made storable."""

    def __init__(self, model: Model, traffic: Traffic) -> None:
        self._generate: Callable[..., Awaitable[Result]] = model.api.generate
        self._model = model
        self._secrets = tuple(key for key in [model.api.api_key] if key)
        self._traffic = traffic
        self.takes_schema = True

    async def __call__(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> Result:
        """One attempt."""
        self._traffic.count(waiting=1)
        start = time.monotonic()
        try:
            result = await self._generate(input, tools, tool_choice, config)
        except Exception as error:
            _redact(error, self._secrets)
            if _lacks_responses_api(error):
                raise ModelError(
                    f"{self._model}: Inspect asks this model by OpenAI's Responses API, which the server lacks; to use "
                    "chat completions, give the model argument responses_api=false (--model-args responses_api=false)"
                ) from None
            if self._model.should_retry(error):
                self._traffic.count(retries=1)
                raise
            if isinstance(error, _ODD_REPLY):
                said = f"the server's reply is not what Inspect expects ({type(error).__name__}: {error})"
                raise ModelError(redacted(said, self._secrets)) from None
            if isinstance(error, HoliSafeError) or str(error) == redacted(str(error), self._secrets):
                raise
            raise ModelError(redacted(f"{type(error).__name__}: {error}", self._secrets)) from None
        finally:
            self._traffic.count(waiting=-1)
        if isinstance(result, ModelOutput):
            self._pay(input, result, time.monotonic() - start)
            return _storable(result)
        output, call = result
        call.request = encodable_values(call.request)
        call.response = encodable_values(call.response)
        if isinstance(output, Exception):
            _redact(output, self._secrets)
            call.response = _redacted_values(call.response, self._secrets)
            return output, call
        _keep_finish_reason(output, call)
        self._pay(input, output, time.monotonic() - start)
        return _storable(output), call

    def _pay(self, input: list[ChatMessage], output: ModelOutput, seconds: float) -> None:
        """Count the tokens of an answered request, where somebody pays for it."""
        paying = PAYING.get()
        if paying is None:
            return
        counts = _counts(output)
        if not any(counts) or min(counts) < 0:  # no server has read or written less than nothing
            read = estimated_input(str(self._model), input)
            paying.count(read, text_tokens(output.completion), seconds, estimated=True)
            return
        paying.count(sum(counts[:-1]), counts[-1], seconds, estimated=False)


def _counts(output: ModelOutput) -> list[int]:
    """Tokens that the server says it read, those from and into its cache, and wrote; none where it says nothing."""
    usage = output.usage
    if usage is None:
        return []
    cached = [usage.input_tokens_cache_read or 0, usage.input_tokens_cache_write or 0]
    return [usage.input_tokens, *cached, usage.output_tokens]


def estimated_input(model: str, messages: list[ChatMessage]) -> int:
    """Tokens of what is sent, as a plan counts them; images count 0 where no rule is known for the model."""
    turns = [Turn(Role.USER, message.text, tuple(_images(message))) for message in messages]
    found = input_tokens(turns, image_rule(model))
    return found.text + (found.images or 0)


def _images(message: ChatMessage) -> Iterator[ImageRef]:
    for part in message.content if not isinstance(message.content, str) else ():
        if isinstance(part, ContentImage) and part.image.startswith("data:"):
            yield ImageRef("image", data=base64.b64decode(part.image.partition(",")[2]))


def _lacks_responses_api(error: Exception) -> bool:
    said = vars(error)
    return said.get("status_code") in (404, 405) and str(said["request"].url).endswith("/responses")


def _storable(output: ModelOutput) -> ModelOutput:
    """The output with text that JSON in UTF-8 can hold."""
    try:
        output.model_dump_json()
    except (ValueError, UnicodeError):
        return ModelOutput.model_validate(encodable_values(output.model_dump()))
    return output


def _keep_finish_reason(output: ModelOutput, call: ModelCall) -> None:
    """Keep the finish reason of a chat completion, where Inspect's own is "unknown"."""
    if not output.choices or output.stop_reason != "unknown":
        return
    match call.response:
        case {"choices": [{"finish_reason": str(reason)}, *_]}:
            output.metadata = {**(output.metadata or {}), FINISH: reason[:40]}


def _redact(error: BaseException, secrets: tuple[str, ...]) -> None:
    """Redact an exception, and those behind it, in place: providers classify their own exceptions for retries."""
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        if not isinstance(behind, HoliSafeError):
            behind.args = tuple(_redacted_values(each, secrets) for each in behind.args)
            behind.__dict__.update({name: _redacted_values(value, secrets) for name, value in vars(behind).items()})
        behind = behind.__cause__ or behind.__context__


def _redacted_values(value: Any, secrets: tuple[str, ...]) -> Any:
    match value:
        case str():
            return redacted(value, secrets)
        case bytes():
            return redacted(value.decode(errors="replace"), secrets).encode()
        case dict():
            return {key: _redacted_values(each, secrets) for key, each in value.items()}
        case list():
            return [_redacted_values(each, secrets) for each in value[:100]]
    return value


async def _count_words(text: str) -> int:
    return len(text.split())


async def close(model: Model) -> None:
    """Close a model's client by Inspect's own way out: `aclose` where the provider has one, else `close`."""
    await model.__aexit__(None, None, None)


def in_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run async work to its end, also for callers within a running event loop (a notebook)."""
    with warnings.catch_warnings():
        # a server may send values of any type, and its client warns of each as it writes the reply down
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
        return _in_loop(work)


def _in_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    if not in_running_loop():
        return asyncio.run(work())
    found: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(work()))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
