"""What a server tells of itself: metrics, the log, the dashboard. Never what was asked."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from holisafe.serve import Metrics, Settings
from holisafe.serve.logs import configure
from serve.site import BLOCK, NAME, SAFE, UNSAFE, Site, data_url, engine_site, shown, wait_until

DASHBOARD = Path(__file__).parents[2] / "docs/grafana.json"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    written = io.StringIO()
    names = ("holisafe.serve", "uvicorn.error")
    before = {name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in names}
    configure(written)
    yield written
    for name, (handlers, propagate) in before.items():
        logging.getLogger(name).handlers[:] = handlers
        logging.getLogger(name).propagate = propagate


def lines(log: io.StringIO, event: str = "request") -> list[dict[str, Any]]:
    return [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == event]


def test_verdicts_are_counted_by_label_and_action(site: Site) -> None:
    def verdicts() -> float:
        return sum(
            sample.value
            for metric in site.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "holisafe:verdicts_total" and sample.labels["action"] == "block"
        )

    before = verdicts()
    site.chat(messages=shown(UNSAFE), moderation=BLOCK)
    assert verdicts() == before + 1


def test_tokens_and_latencies_are_counted(site: Site) -> None:
    before = {name: site.count(name) for name in ("prompt_tokens_total", "generation_tokens_total")}
    firsts = site.count("time_to_first_token_seconds_count")
    usage = site.chat(max_tokens=3).json()["usage"]
    assert site.count("prompt_tokens_total") == before["prompt_tokens_total"] + usage["prompt_tokens"]
    assert site.count("generation_tokens_total") == before["generation_tokens_total"] + usage["completion_tokens"]
    assert site.count("time_to_first_token_seconds_count") == firsts + 1
    wait_until(lambda: site.count("num_requests_running") == 0)


def test_the_metrics_are_prometheus_text(site: Site) -> None:
    site.chat()
    reply = httpx.get(f"{site.url}/metrics", trust_env=False, timeout=60)
    assert reply.headers["content-type"].startswith("text/plain")
    assert "holisafe:request_success_total{finished_reason=" in reply.text
    assert 'route="/v1/chat/completions"' in reply.text


def test_a_path_that_a_client_makes_up_is_no_label(site: Site) -> None:
    httpx.get(f"{site.url}/made/up", trust_env=False, timeout=60)
    assert "made" not in site.metrics.text().decode()


def test_every_metric_of_the_dashboard_is_one_that_is_counted() -> None:
    text = DASHBOARD.read_text("utf-8")
    named = set(re.findall(r"holisafe:\w+", text))
    known = {
        name + suffix
        for metric in Metrics().registry.collect()
        for name in [metric.name]
        for suffix in ("", "_total", "_bucket", "_count")
    }
    assert len(named) > 10 and named <= known
    json.loads(text)


def test_the_log_tells_what_was_decided_and_nothing_that_was_said(log: io.StringIO) -> None:
    with engine_site() as site:
        question = "a question that is nobody's business"
        answer = site.chat(messages=shown(UNSAFE, text=question), moderation=BLOCK).json()
        site.chat(messages=shown(SAFE, text=question), max_tokens=4)
        site.chat(messages=[{"role": question, "content": question}])
        site.post("/v1/moderations", {"input": question})
        site.chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": question}}]}])
    written = log.getvalue()
    assert "business" not in written and data_url(UNSAFE)[-40:] not in written
    assert answer["choices"][0]["message"]["refusal"] not in written
    first = lines(log)[0]
    assert first["action"] == "block" and first["flagged"] is True and first["images"] == 1
    assert first["route"] == "/v1/chat/completions" and first["status"] == 200 and first["key"] == "anonymous"


def test_what_was_said_is_logged_where_the_operator_asks_for_it(log: io.StringIO) -> None:
    with engine_site(Settings(log_content=True)) as site:
        said = site.chat(messages=shown(SAFE, text="Who?"), max_tokens=4).json()["choices"][0]["message"]["content"]
    line = lines(log)[0]
    assert line["prompt"] == ["Who?"] and line["answer"] == said
    assert data_url(SAFE)[-40:] not in log.getvalue()


def test_a_client_cannot_write_lines_into_the_log(log: io.StringIO) -> None:
    with engine_site() as site:
        forged = 'x\n{"event": "request", "forged": true}\r\n'
        site.chat(model=forged)
        site.chat(**{forged: 1})
        site.post("/v1/chat/completions", {"model": NAME}, headers={"User-Agent": "x\tforged"})
        httpx.get(f"{site.url}/v1/models/forged%0A%7B%7D", trust_env=False, timeout=60)
    assert len(lines(log)) == 4 and "forged" not in log.getvalue()


def test_each_answer_names_the_request_that_the_log_names(log: io.StringIO) -> None:
    with engine_site() as site:
        reply = site.chat()
    assert lines(log)[0]["request_id"] == reply.headers["x-request-id"]
