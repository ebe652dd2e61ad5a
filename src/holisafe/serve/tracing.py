"""Spans for OpenTelemetry: how long a request and its verdict took and what was decided, never what was said.

FastAPI could write spans and logs of its own; they hold addresses and messages as clients wrote them, so the
application switches them off. Nothing is exported unless there is a tracer provider, which `configure` sets up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from starlette.datastructures import Headers
from starlette.types import Scope

from holisafe._version import __version__
from holisafe.errors import MissingDependencyError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_OF_FACTS = {
    "request_id": "holisafe.request_id",
    "action": "holisafe.action",
    "label": "holisafe.label",
    "flagged": "holisafe.flagged",
    "images": "holisafe.images",
    "inputs": "holisafe.inputs",
    "error": "error.type",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
}
"""Facts of the log that a span has, too: names and counts of our own."""


def configure() -> bool:
    """Export spans by OTLP over HTTP, if the environment names an endpoint; whether it does.

    Raises:
        MissingDependencyError: It does, and the exporter is not installed.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{' or '.join(ENDPOINTS)} is set, so spans are to be exported, which needs {error.name!r}; run: "
            "pip install 'holisafe[otel]', or unset it"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "holisafe", "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


@contextmanager
def request_span(scope: Scope) -> Iterator[Span]:
    """The span of a request; it belongs to the trace that the client names, if it does."""
    parent = propagate.extract(Headers(scope=scope))
    with _tracer().start_as_current_span("request", parent, SpanKind.SERVER, record_exception=False) as span:
        yield span


def end_request(span: Span, method: str, route: str, status: int, facts: Mapping[str, Any]) -> None:
    """Say what came of a request.

    Args:
        span: Its span.
        method: HTTP's.
        route: The path as the routes spell it.
        status: Of HTTP; 0 where the client left.
        facts: What the log says of it.
    """
    if not span.is_recording():
        return
    method = method if method in _METHODS else "_OTHER"
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route})
    if status:
        span.set_attribute("http.response.status_code", status)
    span.set_attributes({name: facts[key] for key, name in _OF_FACTS.items() if facts.get(key) is not None})
    if "finish_reason" in facts:
        span.set_attribute("gen_ai.response.finish_reasons", [facts["finish_reason"]])
    if status >= 500:
        span.set_status(StatusCode.ERROR)


@contextmanager
def guard_span() -> Iterator[None]:
    """The time until the verdict."""
    with _tracer().start_as_current_span("holisafe.guard", record_exception=False, set_status_on_exception=False):
        yield


def _tracer() -> trace.Tracer:
    return trace.get_tracer("holisafe.serve", __version__)
