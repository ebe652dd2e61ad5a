"""The guard inside vLLM: a plug-in of its API server, on its own port.

vLLM finds it by the entry point group `vllm.endpoint_plugins` and loads it where the environment variable
`VLLM_PLUGINS` names it. Its routes take the place of vLLM's own of the same path: images are judged here, and vLLM's
chat handler answers. A path that would answer without the guard is closed.

A plug-in that cannot be imported is left out by vLLM, which then serves without a guard; so nothing is imported above
that may be missing, and whatever fails later keeps the server from starting.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.routing import APIRoute
    from starlette.types import Receive, Scope, Send

    from holisafe.serve.settings import Settings

ANSWERED = ("/v1/chat/completions", "/v1/responses", "/v1/moderations")
"""Paths that are answered here."""

KEPT = frozenset(
    {
        *("/tokenize", "/detokenize", "/ping", "/health", "/v1/embeddings", "/pooling", "/classify", "/score"),
        *("/v1/score", "/rerank", "/v1/rerank", "/v2/rerank", "/v2/embed", "/v1/messages/count_tokens"),
        *("/v1/chat/completions/render", "/v1/completions/render", "/v1/responses/render", "/v1/messages/render"),
        *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/sleep", "/wake_up", "/reset_prefix_cache"),
        *("/reset_mm_cache", "/reset_encoder_cache", "/start_profile", "/stop_profile", "/pause", "/resume"),
    }
)
"""What stays of vLLM's own paths that are posted to: none of them generates."""

GUARD, POLICY, DECIDE_BY, FAIL_OPEN = "HOLISAFE_GUARD", "HOLISAFE_POLICY", "HOLISAFE_DECIDE_BY", "HOLISAFE_FAIL_OPEN"
DEVICE, NEW_TOKENS, OPEN_PATHS = "HOLISAFE_GUARD_DEVICE", "HOLISAFE_MAX_NEW_TOKENS", "HOLISAFE_OPEN_PATHS"


class GuardedEndpoints:
    """What `vllm.endpoint_plugins` asks for.

    Attributes:
        name: The name in `VLLM_PLUGINS`.
        required_tasks: What the server must do for the plug-in to be loaded.
    """

    name = "holisafe"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Put the guarded routes in the place of vLLM's, and close what would answer without the guard.

        Raises:
            RunError: The environment names no guard, or a setting is not one.
            ModelError: The guard's model cannot be loaded.
            GuardError: It has no guard that judges images.
        """
        from holisafe.models import load
        from holisafe.serve.image_guard import ImageGuard

        settings, opened = read_settings(os.environ), _paths(os.environ.get(OPEN_PATHS, ""))
        loaded = load(os.environ[GUARD], guard="own", device=os.environ.get(DEVICE))
        mount(app, ImageGuard(loaded.model, loaded.processor), settings, opened)

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Nothing: the routes ask vLLM's own handler."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Policy and limits by the environment.

    Raises:
        RunError: There is no guard, or a value is not one.
        UnknownNameError: There is no such policy.
    """
    from holisafe.errors import RunError
    from holisafe.serve.settings import Limits, Settings

    if not environment.get(GUARD):
        raise RunError(f"the plug-in holisafe needs a guard: set {GUARD} to a model with a guard of its own")
    fail_open = environment.get(FAIL_OPEN, "0")
    if fail_open not in ("0", "1"):
        raise RunError(f"{FAIL_OPEN}: found {fail_open!r}, expected 0 or 1")
    new_tokens = environment.get(NEW_TOKENS, "2048")
    if not (new_tokens.isascii() and new_tokens.isdigit()):
        raise RunError(f"{NEW_TOKENS}: found {new_tokens!r}, expected a number of tokens")
    most = int(new_tokens)
    return Settings(
        policy=environment.get(POLICY, "score"),  # type: ignore[arg-type]  # parsed there
        decide_by=environment.get(DECIDE_BY, "request"),  # type: ignore[arg-type]
        fail_open=fail_open == "1",
        limits=Limits(new_tokens=most, default_new_tokens=min(most, 512)),
    )


def mount(app: FastAPI, guard: Any, settings: Settings, opened: frozenset[str] = frozenset()) -> None:
    """Put guarded routes before a vLLM's own, which answer behind them.

    Args:
        app: vLLM's application, with its routes.
        guard: Judges images.
        settings: Policy and limits.
        opened: Further paths that stay as they are.

    Raises:
        RunError: The application has no chat completions.
    """
    from starlette.responses import Response

    from holisafe.serve.in_process import AppTransport
    from holisafe.serve.metrics import CONTENT_TYPE, Metrics
    from holisafe.serve.proxy_backend import ProxyBackend
    from holisafe.serve.routes import router
    from holisafe.serve.upstream import Upstream

    metrics = Metrics()
    behind = Upstream("http://vllm/v1", transport=AppTransport(_behind(app)))
    guarded = router(ProxyBackend(behind, guard), settings, metrics=metrics)
    # the routes themselves: vLLM looks for the routes that a plug-in adds, not for routers
    app.router.routes.extend(route for route in guarded.routes if _path(route) in ANSWERED)

    @app.get("/holisafe/metrics", include_in_schema=False)
    async def read_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    app.add_middleware(Closed, kept=KEPT | frozenset(ANSWERED) | opened)


def _behind(app: FastAPI) -> FastAPI:
    """An application of vLLM's own chat handler and list of models, with its state and without the guard."""
    from fastapi import FastAPI

    from holisafe.errors import RunError

    wanted = {("POST", "/v1/chat/completions"), ("GET", "/v1/models")}
    found = {key: route for route in app.routes for key in wanted if _is_for(route, *key)}
    if len(found) < len(wanted):
        missing = ", ".join(sorted(path for method, path in wanted - found.keys()))
        raise RunError(f"this vLLM does not serve {missing}, which the plug-in holisafe guards; serve a chat model")
    behind = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    behind.state = app.state
    behind.router.routes.extend(found.values())
    return behind


class Closed:
    """Lets no request through to a path that answers without the guard."""

    def __init__(self, app: Any, kept: frozenset[str]) -> None:
        self._app = app
        self._kept = kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        from holisafe.serve.errors import ApiError

        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        asks = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if asks and scope["path"].removeprefix(scope.get("root_path", "")) not in self._kept:
            words = "this path would answer without the guard, so it is closed; ask /v1/chat/completions"
            await ApiError(403, words, code="not_guarded").response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_for(route: Any, method: str, path: str) -> bool:
    return _path(route) == path and method in (vars(route).get("methods") or ())


def _path(route: APIRoute | Any) -> str | None:
    found: str | None = vars(route).get("path")
    return found


def _paths(given: str) -> frozenset[str]:
    return frozenset(path.strip() for path in given.split(",") if path.strip())
