"""A guarded model as a server that speaks OpenAI's API: verdicts before answers, refusals by policy.

`router(backend, settings)` gives the routes for a FastAPI application of your own; `application` puts keys, rates,
metrics and a log around them; `make_server` listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holisafe._lazy import lazy

if TYPE_CHECKING:
    from holisafe.serve.app import application
    from holisafe.serve.backend import Ask, Backend, ChatMessage, Delta, Finished, Judged, OutputJudged, Picture
    from holisafe.serve.engine_backend import EngineBackend
    from holisafe.serve.errors import ApiError
    from holisafe.serve.image_guard import ImageGuard
    from holisafe.serve.keys import ApiKey, KeyRing, new_key, read_keys
    from holisafe.serve.metrics import Metrics
    from holisafe.serve.playground import Compared
    from holisafe.serve.proxy_backend import ProxyBackend
    from holisafe.serve.review import ReviewSample
    from holisafe.serve.routes import router
    from holisafe.serve.server import check_bind, make_server, share_memory
    from holisafe.serve.settings import Limits, Mode, Settings
    from holisafe.serve.states import HiddenStates, PoolingStates, RequestGuard
    from holisafe.serve.upstream import Upstream

_LATE = {
    "application": "app",
    **dict.fromkeys(
        ("Ask", "Backend", "ChatMessage", "Delta", "Finished", "Judged", "OutputJudged", "Picture"), "backend"
    ),
    "EngineBackend": "engine_backend",
    "ApiError": "errors",
    "ImageGuard": "image_guard",
    "Compared": "playground",
    "ProxyBackend": "proxy_backend",
    "Upstream": "upstream",
    **dict.fromkeys(("ApiKey", "KeyRing", "new_key", "read_keys"), "keys"),
    "Metrics": "metrics",
    "ReviewSample": "review",
    "router": "routes",
    **dict.fromkeys(("check_bind", "make_server", "share_memory"), "server"),
    **dict.fromkeys(("Limits", "Mode", "Settings"), "settings"),
    **dict.fromkeys(("HiddenStates", "PoolingStates", "RequestGuard"), "states"),
}

__all__ = [
    "ApiError",
    "ApiKey",
    "Ask",
    "Backend",
    "ChatMessage",
    "Compared",
    "Delta",
    "EngineBackend",
    "Finished",
    "HiddenStates",
    "ImageGuard",
    "Judged",
    "KeyRing",
    "Limits",
    "Metrics",
    "Mode",
    "OutputJudged",
    "Picture",
    "PoolingStates",
    "ProxyBackend",
    "RequestGuard",
    "ReviewSample",
    "Settings",
    "Upstream",
    "application",
    "check_bind",
    "make_server",
    "new_key",
    "read_keys",
    "router",
    "share_memory",
]

__getattr__, __dir__ = lazy(__name__, {name: f"holisafe.serve.{module}" for name, module in _LATE.items()})
