"""Spans for OpenTelemetry: what they tell of a request, and that nothing of what was said is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry import trace

from holisafe.errors import MissingDependencyError
from holisafe.serve.tracing import configure
from serve.site import BLOCK, SAFE, UNSAFE, Site, data_url, shown, wait_until

pytest.importorskip("opentelemetry.sdk", reason="needs pip install 'holisafe[otel]'")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def finished(spans: InMemorySpanExporter, count: int) -> dict[str, Any]:
    """Spans by name, once so many are there."""
    wait_until(lambda: len(spans.get_finished_spans()) >= count)
    return {span.name: span for span in spans.get_finished_spans()}


def test_a_request_and_its_verdict_are_spans_of_the_clients_trace(site: Site, spans: InMemorySpanExporter) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"model": "tiny", "messages": shown(UNSAFE), "moderation": BLOCK}
    reply = site.post("/v1/chat/completions", body, headers={"traceparent": parent})
    found = finished(spans, 2)
    request, guard = found["POST /v1/chat/completions"], found["holisafe.guard"]
    assert f"{request.context.trace_id:032x}" in parent and f"{request.parent.span_id:016x}" in parent
    assert guard.parent.span_id == request.context.span_id
    assert request.start_time <= guard.start_time <= guard.end_time <= request.end_time
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["holisafe.action"] == "block" and request.attributes["holisafe.flagged"] is True
    assert request.attributes["holisafe.request_id"] == reply.headers["x-request-id"]
    assert request.attributes["gen_ai.response.finish_reasons"] == ("content_filter",)


def test_a_stream_is_one_span_to_its_end(site: Site, spans: InMemorySpanExporter) -> None:
    usage = site.chat(stream=True, stream_options={"include_usage": True}, max_tokens=3)
    request = finished(spans, 2)["POST /v1/chat/completions"]
    assert usage.text.rstrip().endswith("[DONE]")
    assert request.attributes["gen_ai.usage.output_tokens"] > 0


def test_nothing_that_was_said_is_in_a_span(site: Site, spans: InMemorySpanExporter) -> None:
    secret = "nobody's business"
    site.chat(messages=shown(SAFE, text=secret))
    site.post("/v1/moderations", {"input": secret})
    site.chat(**{secret: 1})
    site.chat(model=secret)
    site.post("/v1/chat/completions?q=" + "business", {"messages": [{"role": "user", "content": secret}]})
    httpx.get(f"{site.url}/{secret}", trust_env=False, timeout=60)
    httpx.request("BUSINESS", f"{site.url}/v1/models", trust_env=False, timeout=60)
    finished(spans, 9)
    told = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "business" not in told.lower() and data_url(SAFE)[-40:] not in told
    errors = [span.attributes.get("error.type") for span in spans.get_finished_spans()]
    assert "unknown_parameter" in errors and "model_not_found" in errors


def test_spans_are_exported_only_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert configure() is False
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingDependencyError, match=r"holisafe\[otel\]"):
        configure()
