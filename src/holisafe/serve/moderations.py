"""`POST /v1/moderations`, and the same for LiteLLM's generic guardrail."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holisafe.records import GuardVerdict
from holisafe.serve.answering import Service
from holisafe.serve.backend import Picture, user_message
from holisafe.serve.errors import ApiError
from holisafe.serve.intake import read_images
from holisafe.serve.moderation import MODEL, decision, image_safety, request_safety, result
from holisafe.serve.reading import check_characters, read_body, until_gone
from holisafe.serve.schema import GuardrailBody, ImagePart, ModerationsBody, TextPart
from holisafe.serve.stream import facts_of

_Parts = Sequence[TextPart | ImagePart]


async def moderations(request: Request, service: Service) -> Response:
    """Judge inputs without answering.

    Raises:
        ApiError: One cannot be judged.
    """
    body = await read_body(request, ModerationsBody, service.settings.limits)
    await service.check_guard(body.model, "model")
    return await until_gone(request, _moderated(body, service, facts_of(request)))


async def _moderated(body: ModerationsBody, service: Service, facts: dict[str, Any]) -> Response:
    inputs = _inputs(body)
    if len(inputs) > service.settings.limits.inputs:
        raise ApiError(
            400,
            f"input: at most {service.settings.limits.inputs} inputs are judged at once",
            param="input",
            code="invalid_value",
        )
    verdicts = await _verdicts(inputs, service, facts)
    results = []
    for verdict in verdicts:
        found = result(verdict, service.settings.decide_by)
        more = {"image_safety": image_safety(verdict), "request_safety": request_safety(verdict)}
        results.append(found | more)
    facts.update(inputs=len(results), flagged=sum(each["flagged"] for each in results))
    return JSONResponse({"id": f"modr-{uuid.uuid4().hex}", "model": MODEL, "results": results})


def _inputs(body: ModerationsBody) -> list[_Parts]:
    """Each input as parts: a list of parts is one input, as in OpenAI's API."""
    if isinstance(body.input, str):
        return [[TextPart(type="text", text=body.input)]]
    first = body.input[0]
    if isinstance(first, str):
        return [[TextPart(type="text", text=str(text))] for text in body.input]
    if isinstance(first, list):
        return list(body.input)  # type: ignore[arg-type]  # pydantic lets in no mixture
    return [body.input]  # type: ignore[list-item]


async def _verdicts(inputs: Sequence[_Parts], service: Service, facts: dict[str, Any]) -> list[GuardVerdict]:
    characters = sum(len(part.text) for parts in inputs for part in parts if isinstance(part, TextPart))
    check_characters(characters, service.settings.limits)
    urls = [
        (f"input.{place}.{at}", part.image_url.url)
        for place, parts in enumerate(inputs)
        for at, part in enumerate(parts)
        if isinstance(part, ImagePart)
    ]
    refs = iter(await read_images(urls, service.settings.limits, service.remote))
    messages = []
    for place, parts in enumerate(inputs):
        read = [Picture(next(refs)) if isinstance(part, ImagePart) else part.text for part in parts]
        if not service.backend.judges_text and not any(isinstance(part, Picture) for part in read):
            raise ApiError(
                400,
                "the guard of this server judges images alone; send at least one",
                param=f"input.{place}",
                code="unsupported_value",
            )
        messages.append(user_message(read))
    judging = [asyncio.ensure_future(service.judge([message], facts)) for message in messages]
    try:
        return list(await asyncio.gather(*judging))
    finally:
        for each in judging:  # once one cannot be judged, nobody waits for the others
            each.cancel()


async def litellm_guardrail(request: Request, service: Service) -> Response:
    """Let a request of a LiteLLM gateway pass, or block it; what a model answered is not judged.

    Raises:
        ApiError: It cannot be judged.
    """
    body = await read_body(request, GuardrailBody, service.settings.limits)
    return await until_gone(request, _guardrail(body, service, facts_of(request)))


async def _guardrail(body: GuardrailBody, service: Service, facts: dict[str, Any]) -> Response:
    texts, images = body.texts or [], body.images or []
    check_characters(sum(map(len, texts)), service.settings.limits)
    judges = body.input_type == "request" and (images or (texts and service.backend.judges_text))
    if not judges:
        facts["action"] = "pass"
        return JSONResponse({"action": "NONE"})
    urls = [(f"images.{at}", url) for at, url in enumerate(images)]
    refs = await read_images(urls, service.settings.limits, service.remote)
    verdict = await service.judge([user_message([*map(Picture, refs), *texts])], facts)
    found = decision(verdict, service.settings.decide_by)
    facts.update(flagged=found.flagged, action="block" if found.flagged else "pass")
    if not found.flagged:
        return JSONResponse({"action": "NONE"})
    return JSONResponse({"action": "BLOCKED", "blocked_reason": found.text})
