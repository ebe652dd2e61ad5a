"""All routes, for a backend: what an application mounts, here or in a server of its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from holisafe.errors import RunError
from holisafe.serve.answering import Service
from holisafe.serve.backend import Backend
from holisafe.serve.chat import chat_completions
from holisafe.serve.errors import ApiError, internal
from holisafe.serve.logs import log_failure
from holisafe.serve.metrics import Metrics
from holisafe.serve.moderations import litellm_guardrail, moderations
from holisafe.serve.reading import ClientGoneError
from holisafe.serve.remote import RemoteImages
from holisafe.serve.responses import create_response
from holisafe.serve.review import ReviewSample
from holisafe.serve.schema import REFERENCE, ChatBody, GuardrailBody, ModerationsBody, ResponsesBody
from holisafe.serve.settings import Settings
from holisafe.serve.stream import facts_of

_LOG = logging.getLogger("holisafe.serve")

CLIENT_GONE = 499
"""Status that the log shows where nobody was left to answer."""

Handler = Callable[[Request, Service], Awaitable[Response]]


def router(
    backend: Backend,
    settings: Settings,
    *,
    metrics: Metrics | None = None,
    remote: RemoteImages | None = None,
    review: ReviewSample | None = None,
) -> APIRouter:
    """The OpenAI-compatible routes, guarded.

    Keys, rates and concurrency are the application's (`holisafe.serve.application`); limits on bodies and images hold
    here.

    Args:
        backend: What answers and judges.
        settings: Policy and limits.
        metrics: Where to count; an object of its own when None.
        remote: Fetches images of allowed hosts; made from the settings when None.
        review: Keeps a sample of verdicts; closed by whoever made it.

    Raises:
        RunError: The settings have a policy on answers, and the backend does not judge them.
    """
    if settings.output_policy is not None and not backend.judges_output:
        raise RunError(
            f"output_policy is {settings.output_policy.value!r}, and this backend judges no answers; leave it out, or "
            "serve a model whose guard has an output head"
        )
    metrics = metrics or Metrics()
    backend.count_in(metrics)
    service = Service(backend, settings, metrics, remote or RemoteImages(settings.image_hosts), review)
    if review is not None:
        review.metrics = metrics
    routes = APIRouter(route_class=ErrorRoute)
    posts: tuple[tuple[str, Handler, type[BaseModel], str], ...] = (
        ("/v1/chat/completions", chat_completions, ChatBody, "Answer a chat."),
        ("/v1/responses", create_response, ResponsesBody, "Answer a request of the Responses API."),
        ("/v1/moderations", moderations, ModerationsBody, "Judge texts and images."),
        ("/beta/litellm_basic_guardrail_api", litellm_guardrail, GuardrailBody, "Judge for a LiteLLM gateway."),
    )
    for path, handler, body, summary in posts:
        _add_post(routes, path, handler, body, summary, service)

    @routes.get("/v1/models", summary="List what is served.")
    async def list_models() -> Response:
        return JSONResponse({"object": "list", "data": [_model(name) for name in await backend.models()]})

    @routes.get("/v1/models/{name:path}", summary="Describe one model.")
    async def get_model(name: str) -> Response:
        return JSONResponse(_model(await service.model(name)))

    @routes.get("/health", summary="Whether the server is up.")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    return routes


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "holisafe"}


def _add_post(
    routes: APIRouter, path: str, handler: Handler, body: type[BaseModel], summary: str, service: Service
) -> None:
    async def endpoint(request: Request) -> Response:
        return await handler(request, service)

    content = {"application/json": {"schema": {"$ref": REFERENCE.format(model=body.__name__)}}}
    routes.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        name=handler.__name__,
        summary=summary,
        response_model=None,
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )


class ErrorRoute(APIRoute):
    """Turns what a route raises into OpenAI's error object."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The handler, with its errors told."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                response: Response = await handle(request)
                return response
            except ApiError as error:
                facts_of(request)["error"] = error.code
                return error.response()
            except ClientGoneError:
                return Response(status_code=CLIENT_GONE)
            except Exception as error:
                log_failure(_LOG, error, facts_of(request))
                return internal().response()

        return told
