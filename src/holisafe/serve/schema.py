"""The fields of requests that this server understands; any other field is refused by name.

What would change which model, adapter, chat template or processor answers is not among them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from holisafe.serve.settings import Mode
from holisafe.taxonomy import Category, Combination, GuardLabel

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Body(BaseModel):
    """Refuses unknown fields and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ModeSetting(Body):
    """One side of a moderation policy."""

    mode: Annotated[Mode, Field(strict=False)]


class ModerationPolicy(Body):
    """What a client asks of the guard."""

    input: ModeSetting | None = None
    output: ModeSetting | None = None


class ModerationWish(Body):
    """OpenAI's request field `moderation`."""

    model: str
    policy: ModerationPolicy | None = None


class ImageUrl(Body):
    """An image as a data URL, or its address where the server allows its host."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class TextPart(Body):
    """Text."""

    type: Literal["text"]
    text: str


class ImagePart(Body):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class RefusalPart(Body):
    """A refusal of an earlier answer."""

    type: Literal["refusal"]
    refusal: str


Part = Annotated[TextPart | ImagePart | RefusalPart, Field(discriminator="type")]


class Message(Body):
    """One message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    # what clients send back of an earlier answer; not read
    annotations: list[Any] | None = None
    audio: None = None
    function_call: None = None


class StreamOptions(Body):
    """How a stream is written."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampling(Body):
    """What both kinds of answers share."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    moderation: ModerationWish | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    # of the client's own bookkeeping; not read
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None


class ChatBody(Sampling):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    n: Literal[1] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None


class InputText(Body):
    """Text of a response's input."""

    type: Literal["input_text"]
    text: str


class InputImage(Body):
    """An image of a response's input."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class OutputText(Body):
    """Text of an earlier answer."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class OutputRefusal(Body):
    """Refusal of an earlier answer."""

    type: Literal["refusal"]
    refusal: str


ResponsePart = Annotated[InputText | InputImage | OutputText | OutputRefusal, Field(discriminator="type")]


class ResponseItem(Body):
    """One message of a response's input."""

    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ResponsePart]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class ResponseText(Body):
    """The form of the answer."""

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponsesBody(Sampling):
    """`POST /v1/responses`."""

    input: str | Annotated[list[ResponseItem], Field(min_length=1, max_length=1000)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    text: ResponseText | None = None
    previous_response_id: None = None
    conversation: None = None
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    include: list[str] | None = None
    reasoning: None = None


ModerationPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ModerationsBody(Body):
    """`POST /v1/moderations`: a text, several texts, the parts of one input, or several inputs of parts."""

    model: str | None = None
    input: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[ModerationPart], Field(min_length=1)]
        | Annotated[list[Annotated[list[ModerationPart], Field(min_length=1)]], Field(min_length=1)]
    )


class GuardrailBody(BaseModel):
    """`POST /beta/litellm_basic_guardrail_api`: what LiteLLM sends; fields that are not read may hold anything."""

    model_config = ConfigDict(extra="ignore")

    input_type: Literal["request", "response"]
    texts: list[str] | None = None
    images: list[str] | None = None


class ImageVerdictBody(Body):
    """One of `image_safety`."""

    label: GuardLabel
    probability: Probability
    distribution: dict[GuardLabel, Probability]
    unsafe: Probability
    threshold: Probability
    flagged: bool


class RequestVerdictBody(Body):
    """`request_safety`."""

    combination: Combination
    probability: Probability
    distribution: dict[Combination, Probability]
    categories: dict[Category, Probability]
    unsafe: Probability
    threshold: Probability
    flagged: bool


class VerdictBody(Body):
    """`POST /ui/explain`: what an answer said of images and request."""

    images: list[ImageVerdictBody]
    request: RequestVerdictBody | None = None


REFERENCE = "#/components/schemas/{model}"
"""Where an OpenAPI document keeps the form of a body."""


def schemas() -> dict[str, Any]:
    """JSON schemas of all bodies and what they hold, by name."""
    bodies = (ChatBody, ResponsesBody, ModerationsBody, GuardrailBody)
    _, found = models_json_schema([(body, "validation") for body in bodies], ref_template=REFERENCE)
    definitions: dict[str, Any] = found["$defs"]
    return definitions
