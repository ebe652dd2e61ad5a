"""Who may ask, how often, and from where."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import openai
import pytest

from holisafe.errors import RunError
from holisafe.serve import ApiError, ApiKey, KeyRing, Limits, Settings, check_bind, new_key, read_keys
from holisafe.serve.keys import digest
from serve.site import Site, endless_site, engine_site


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    check_bind(host, KeyRing())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_every_other_address_needs_keys(host: str) -> None:
    with pytest.raises(RunError, match="API keys are needed"):
        check_bind(host, KeyRing())
    check_bind(host, KeyRing((new_key("a")[1],)))


def test_a_key_is_kept_as_its_hash() -> None:
    key, entry = new_key("team")
    assert len(key) > 40 and key not in repr(entry) and entry.sha256 == digest(key)
    assert KeyRing((entry,)).find(f"Bearer {key}") is entry


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer hs-wrong", "Bearer \xff", "x" * 10000]
)
def test_without_a_known_key_there_is_no_answer(header: str | None) -> None:
    with pytest.raises(ApiError) as told:
        KeyRing((new_key("a")[1],)).find(header)
    assert told.value.status == 401


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes does not tell which key is near."""
    made = [new_key(f"k{at}") for at in range(5)]
    compared: list[str] = []
    import hmac

    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or a == b)
    KeyRing([entry for _, entry in made]).find(f"Bearer {made[0][0]}")
    assert len(compared) == 5


def test_a_file_of_keys_is_read(tmp_path: Path) -> None:
    entry = new_key("a")[1]
    file = tmp_path / "keys.jsonl"
    file.write_text(json.dumps({"name": "a", "sha256": entry.sha256, "per_minute": 5}) + "\n\n")
    assert read_keys(file) == (ApiKey("a", entry.sha256, per_minute=5),)


HASH = "a" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        json.dumps({"name": "a"}),
        json.dumps({"name": "a b", "sha256": HASH}),
        json.dumps({"name": "a", "sha256": "short"}),
        json.dumps({"name": "a", "sha256": HASH, "per_minute": 0}),
        json.dumps({"name": "a", "sha256": HASH, "per_minute": 10**400}),
        json.dumps({"name": "a", "sha256": HASH, "key": "secret"}),
        "[" * 100_000,
        "\n".join([json.dumps({"name": "a", "sha256": HASH})] * 2),
    ],
)
def test_a_malformed_file_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(text)
    with pytest.raises(RunError, match="keys"):
        read_keys(file)


def test_a_key_has_a_rate_that_recovers() -> None:
    now = [0.0]
    key = ApiKey("a", HASH, per_minute=2)
    ring = KeyRing((key,), clock=lambda: now[0])
    for _ in range(2):
        ring.enter(key)
        ring.leave(key)
    with pytest.raises(ApiError) as told:
        ring.enter(key)
    assert told.value.status == 429 and told.value.retry_after == 30
    now[0] = 30
    ring.enter(key)


def test_a_key_has_a_limit_of_requests_at_once() -> None:
    key, other = ApiKey("a", HASH, concurrency=1), ApiKey("b", "b" * 64)
    ring = KeyRing((key, other))
    ring.enter(key)
    with pytest.raises(ApiError, match="1 requests running"):
        ring.enter(key)
    ring.enter(other)
    ring.leave(key)
    ring.enter(key)


def test_a_server_with_keys_answers_those_who_have_one() -> None:
    key, entry = new_key("team")
    with engine_site(keys=KeyRing((entry,))) as site:
        assert [each.id for each in site.client(key).models.list()] == ["tiny"]
        with pytest.raises(openai.AuthenticationError) as told:
            site.client("hs-wrong").models.list()
        assert told.value.code == "invalid_api_key"
        assert httpx.get(f"{site.url}/metrics", trust_env=False, timeout=60).status_code == 401
        assert httpx.get(f"{site.url}/openapi.json", trust_env=False, timeout=60).status_code == 401
        assert httpx.get(f"{site.url}/health", trust_env=False, timeout=60).status_code == 200


def test_a_rate_that_is_used_up_says_when_to_come_again() -> None:
    key, entry = new_key("team")
    ring = KeyRing((ApiKey(entry.name, entry.sha256, per_minute=1),))
    with engine_site(keys=ring) as site:
        site.client(key).models.list()
        with pytest.raises(openai.RateLimitError) as told:
            site.client(key).models.list()
        assert 1 <= int(told.value.response.headers["retry-after"]) <= 60
        assert site.count("admission_rejections_total", reason="rate_limit_exceeded") == 1


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", ""])
def test_a_page_that_resolves_to_loopback_is_turned_away(site: Site, host: str) -> None:
    reply = httpx.get(f"{site.url}/v1/models", headers={"Host": host}, trust_env=False, timeout=60)
    assert reply.status_code == 403


def test_a_form_of_another_site_is_not_read(site: Site) -> None:
    reply = httpx.post(
        f"{site.url}/v1/chat/completions",
        content=b"{}",
        headers={"Content-Type": "text/plain"},
        trust_env=False,
        timeout=60,
    )
    assert reply.status_code == 415
    assert "access-control-allow-origin" not in reply.headers


def test_the_server_has_a_limit_of_requests_at_once() -> None:
    with endless_site(Settings(limits=Limits(concurrency=1))) as site:
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
        with httpx.stream("POST", f"{site.url}/v1/chat/completions", json=body, trust_env=False, timeout=60) as running:
            lines = running.iter_lines()  # kept, since dropping it closes the connection
            next(lines)
            reply = site.chat()
            assert reply.status_code == 503 and reply.headers["retry-after"] == "1"
            assert httpx.get(f"{site.url}/health", trust_env=False, timeout=60).status_code == 200
