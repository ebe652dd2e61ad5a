"""One sample put to a model: the conversation that is sent, and the response read from what came back."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    ResponseSchema,
    get_model,
)
from inspect_ai.util import JSONSchema, LimitExceededError
from tenacity import RetryError

from holisafe.bench._hosted import FINISH, leave_out_schema, prepared, takes_schema
from holisafe.bench._names import LOCAL
from holisafe.bench._text import encodable, redacted
from holisafe.errors import JudgeError, RunError
from holisafe.images import open_image, read_bytes
from holisafe.judges import Ask, Reply
from holisafe.records import GuardVerdict, ImageRef, Response, Role, Sample, Turn
from holisafe.records.as_json import answer_cost_from_json, media_type

VERDICT = "holisafe_guard"
COST = "holisafe_cost"
"""Where the metadata of a local model's output keep what its guard said of the prompt."""

AT_ONCE = 10
"""Requests to a hosted model at the same time; Inspect bounds the connections to as many."""

LONGEST_ANSWER = 1_000_000
"""Characters of an answer; one beyond is a fault of the server, which was told a maximum number of tokens."""


async def ask_model(model: Model, sample: Sample, system_prompt: str | None = None) -> tuple[Response, ModelOutput]:
    """Ask a model one sample; whatever goes wrong with this one becomes its response."""
    name = str(model)
    system = [] if system_prompt is None else [Turn(Role.SYSTEM, system_prompt)]
    try:
        output = await prepared(model).generate([await _message(turn) for turn in (*system, *sample.turns)])
        response = read_response(sample.id, name, output)
    except (LimitExceededError, RunError):
        raise
    except Exception as error:
        response = Response(sample.id, "", name, finish_reason="error", error=reason(error))
        output = ModelOutput(model=name, error=response.error)
    return response, output


def read_response(sample_id: str, model: str, output: ModelOutput) -> Response:
    """The response that a model's output holds: an answer, a refusal, nothing, or an error."""
    if output.choices and output.stop_reason == "model_length":  # providers give their message as the text
        why = redacted(output.completion[:300])
        failure = f"the prompt and the answer do not fit the model's context: {why}".rstrip(": ")
        return Response(sample_id, "", model, finish_reason="error", error=failure)
    refusal = _refusal(output)
    if output.error and refusal is None:
        return Response(sample_id, "", model, finish_reason="error", error=redacted(output.error))
    text = encodable(output.completion)
    if len(text) > LONGEST_ANSWER:
        failure = f"an answer of {len(text):,} characters; expected at most {LONGEST_ANSWER:,}; check the server"
        return Response(sample_id, "", model, finish_reason="error", error=failure)
    usage, metadata = output.usage, output.metadata or {}
    said, cost = metadata.get(VERDICT), metadata.get(COST)
    return Response(
        sample_id=sample_id,
        text="" if refusal == text and output.stop_reason == "content_filter" else text,
        model=model,
        verdict=GuardVerdict() if said is None else GuardVerdict.from_json(said),
        finish_reason=_finish(output),
        refusal=refusal,
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        cost=None if cost is None else answer_cost_from_json(cost),
    )


def output_of(response: Response) -> ModelOutput:
    """A response as Inspect's viewer shows it."""
    output = ModelOutput.from_content(response.model, response.text or response.refusal or "")
    output.error = response.error
    if response.finish_reason == "length":
        output.choices[0].stop_reason = "max_tokens"
    return output


def inspect_ask(model: Model | str, *, max_retries: int = 5, timeout: int = 300) -> Ask:
    """How a judge reaches a model that Inspect serves: its limits and keys are Inspect's.

    Args:
        model: The model, or Inspect's name of it.
        max_retries: How often a failed request is tried again, where the model itself does not say.
        timeout: Seconds that one attempt may take, where the model itself does not say.
    """
    reached = get_model(model) if isinstance(model, str) else model

    async def ask(
        turns: Sequence[Turn],
        *,
        max_tokens: int = 512,
        schema: Mapping[str, Any] | None = None,
        template: Mapping[str, Any] | None = None,
    ) -> Reply:
        if template and str(reached).startswith(LOCAL):
            raise JudgeError(
                f"{reached} takes no arguments of its chat template here; name the folder behind the judge, as in "
                "--judge singguard:FOLDER"
            )
        try:
            messages = [await _message(turn) for turn in turns]
            config = GenerateConfig(
                temperature=0.0,
                max_tokens=max_tokens,
                max_retries=_given(reached.config.max_retries, max_retries),
                attempt_timeout=_given(reached.config.attempt_timeout, timeout),
                extra_body={"chat_template_kwargs": dict(template)} if template else None,
            )
            output, without_schema = await _generate(prepared(reached), messages, config, schema)
            response = read_response("", str(reached), output)
        except (LimitExceededError, RunError):
            raise
        except Exception as error:
            raise JudgeError(f"the judge's model {reached} could not be reached: {reason(error)}") from error
        if response.error is not None:
            raise JudgeError(f"the judge's model {reached} gave no answer: {response.error}")
        counts = {"input": response.input_tokens, "output": response.output_tokens}
        usage = {kind: count for kind, count in counts.items() if count is not None}
        return Reply(
            text=response.text or response.refusal or "",
            model=str(reached),
            usage=usage,
            refusal=response.refusal,
            finish=response.finish_reason or "",
            served=encodable(output.model)[:200],
            without_schema=without_schema,
        )

    return ask


async def _generate(
    model: Model, messages: list[ChatMessage], config: GenerateConfig, schema: Mapping[str, Any] | None
) -> tuple[ModelOutput, bool]:
    """Ask with the schema; a server that answers it with status 400 is asked once more without, and then always so.

    Returns:
        The output, and whether the schema was left out.
    """
    if schema is None or not takes_schema(model):
        return await model.generate(messages, config=config), schema is not None
    structured = ResponseSchema(name="verdict", json_schema=JSONSchema.model_validate(schema), strict=True)
    try:
        return await model.generate(messages, config=config.merge(GenerateConfig(response_schema=structured))), False
    except Exception as error:
        if not _is_bad_request(error):
            raise
    output = await model.generate(messages, config=config)
    leave_out_schema(model)
    return output, True


def _is_bad_request(error: BaseException | None) -> bool:
    """Whether an exception, or one behind it, is a server's answer with status 400."""
    while error is not None:
        said = vars(error)
        if 400 in (said.get("status_code"), said.get("code")):
            return True
        error = error.__cause__
    return False


def _given(own: int | None, otherwise: int) -> int:
    return otherwise if own is None else own


def reason(error: BaseException) -> str:
    """The error in one line without keys, by the exception that says most."""
    if isinstance(error, RetryError):
        last = error.last_attempt.exception()
        return f"given up after {error.last_attempt.attempt_number} attempts: {reason(last) if last else error}"
    behind = error.__cause__
    if behind is not None and type(error).__name__ == "ModelGenerateError":  # repeats the whole request
        return reason(behind)
    said = redacted(str(error))
    if isinstance(error, AssertionError) or not said:
        said = "the server's reply is not one of this interface"
    return redacted(f"{type(error).__name__}: {said}")


async def _message(turn: Turn) -> ChatMessage:
    images = [ContentImage(image=await asyncio.to_thread(_data_uri, image)) for image in turn.images]
    content: list[Content] = [*images, *([ContentText(text=turn.text)] if turn.text or not images else [])]
    match turn.role:
        case Role.SYSTEM:
            return ChatMessageSystem(content=turn.text)
        case Role.ASSISTANT:
            return ChatMessageAssistant(content=turn.text)
    return ChatMessageUser(content=content)


def _data_uri(image: ImageRef) -> str:
    """The image for a model, checked to be one.

    Raises:
        ImageError: It could not be let in.
    """
    open_image(image)
    data = read_bytes(image)
    return f"data:{media_type(data)};base64,{base64.b64encode(data).decode()}"


def _refusal(output: ModelOutput) -> str | None:
    """What the provider gave as a refusal: in a field of its own, or its own message in the answer's place."""
    if not output.choices:
        return None
    choice = output.choices[0]
    flagged = [
        part.text
        for part in (choice.message.content if isinstance(choice.message.content, list) else [])
        if isinstance(part, ContentText) and part.refusal
    ]
    if flagged:
        return encodable("\n".join(flagged))
    details = choice.stop_details
    if details is not None and details.explanation and details.type == "refusal":
        return encodable(details.explanation)
    if output.stop_reason != "content_filter":
        return None
    text = encodable(output.completion)
    told_by_provider = (
        output.error or (details is not None and details.explanation == text) or text.startswith("BLOCKED: ")
    )
    return text if text.strip() and told_by_provider else None


def _finish(output: ModelOutput) -> str:
    if not output.choices:
        return "no_choices"
    if output.stop_reason == "max_tokens":
        return "length"
    return str((output.metadata or {}).get(FINISH, output.stop_reason))
