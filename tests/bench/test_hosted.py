"""Hosted models, through Inspect's real providers and a real server on this machine."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from endpoint import Body, Endpoint, Exchange, completion, failure, serve, slowly
from holisafe import datasets
from holisafe.bench import inspect_ask, measure, read_run, rejudge
from holisafe.errors import JudgeError, RunError
from holisafe.judges import Refusal
from holisafe.records import Outcome, Role, Run, Sample, Turn

pytest.importorskip("openai")

KEY = "sk-proj-0123456789abcdefghijklmnop"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serve() as served:
        yield served


def ask(endpoint: Endpoint, out: Path, data: str | Path, **settings: Any) -> Run:
    given = {"judges": ("holisafe", "refusal"), "max_retries": 1, "timeout": 8, **settings}
    model = given.pop("model", "openai/gpt-4o")
    return measure(
        model, data=data, out=out, model_args={"base_url": endpoint.url, **given.pop("model_args", {})}, **given
    )


def test_a_hosted_model_ends_in_figures_and_is_read_back(endpoint: Endpoint, data: Path, tmp_path: Path) -> None:
    measured = ask(endpoint, tmp_path, data)
    assert len(measured.responses) == 20 == len(endpoint.requests)
    assert {response.text for response in measured.responses} == {"Yes."}
    assert read_run(tmp_path).responses == measured.responses
    assert ask(endpoint, tmp_path, data) == measured
    assert len(endpoint.requests) == 20


@pytest.mark.parametrize("model", ["openai/gpt-4o", "openai-api/mine/served"])
def test_every_provider_that_closes_asynchronously_is_closed_so(
    model: str, endpoint: Endpoint, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE_API_KEY", KEY)
    measured = ask(endpoint, tmp_path, data, limit=5, model=model)
    assert all(response.text == "Yes." for response in measured.responses)


def test_an_anthropic_model_ends_in_figures(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("anthropic")
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [{"type": "text", "text": "Yes."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 3},
    }
    with serve(default=lambda exchange: exchange.send(message)) as served:
        url = served.url.removesuffix("/v1")
        measured = ask(
            served,
            tmp_path,
            data,
            model="anthropic/claude-3-5-sonnet-latest",
            model_args={"base_url": url, "streaming": False},
            limit=5,
        )
    assert all(response.text == "Yes." for response in measured.responses), measured.responses[0]


def test_the_server_gets_the_image_and_the_whole_conversation(
    endpoint: Endpoint, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, *_) = datasets.load(str(data), "test")
    turns = (Turn(Role.USER, "What is it?", first.images), Turn(Role.ASSISTANT, "A box."), Turn(Role.USER, "And now?"))
    samples = (
        Sample("conversation", turns, first.expected, first.combination),
        Sample("text", (Turn(Role.USER, "No image."),), first.expected, first.combination),
    )
    monkeypatch.setattr(datasets, "read", lambda *_: datasets.Loaded(samples))
    measured = ask(endpoint, tmp_path, data, system_prompt="Be brief.")
    by_length = sorted((body["messages"] for body in endpoint.requests), key=len)
    assert [message["role"] for message in by_length[1]] == ["system", "user", "assistant", "user"]
    assert by_length[1][0]["content"] == "Be brief."
    image, text = by_length[1][1]["content"]
    assert first.images[0].path is not None
    assert base64.b64decode(image["image_url"]["url"].partition(",")[2]) == first.images[0].path.read_bytes()
    assert text["text"] == "What is it?"
    assert [response.text for response in measured.responses] == ["Yes.", "Yes."]


def test_another_judge_asks_the_judges_model_and_not_the_measured_one(
    endpoint: Endpoint, data: Path, tmp_path: Path
) -> None:
    measured = ask(endpoint, tmp_path, data, limit=5)
    asked = len(endpoint.requests)
    again = rejudge(measured, "refusal")
    assert len(endpoint.requests) == asked
    assert again.responses == measured.responses


def test_a_judge_reaches_a_model_by_ask(endpoint: Endpoint) -> None:
    from inspect_ai.model import get_model

    async def reply() -> Any:
        async with get_model("openai/gpt-4o", base_url=endpoint.url, memoize=False) as model:
            return await inspect_ask(model)([Turn(Role.USER, "Is it refused?")], max_tokens=7)

    found = asyncio.run(reply())
    assert (found.text, found.model, dict(found.usage)) == ("Yes.", "openai/gpt-4o", {"input": 9, "output": 3})
    assert endpoint.requests[0]["max_tokens"] == 7


def chat_completions_alone(exchange: Exchange) -> None:
    if exchange.path.endswith("/responses"):
        exchange.send(failure("no such path"), 404)
    else:
        exchange.send(completion())


def test_a_server_without_the_responses_api_is_asked_by_chat_completions(data: Path, tmp_path: Path) -> None:
    with serve(default=chat_completions_alone) as served:
        with pytest.raises(RunError, match=r"Responses API, which the server lacks.*responses_api=false"):
            ask(served, tmp_path / "without", data, limit=5, model="openai/gpt-5")
        assert len(served.requests) == 5  # none was tried again
        given = {"model_args": {"responses_api": False}}
        measured = ask(served, tmp_path / "with", data, limit=5, model="openai/gpt-5", **given)
    assert {response.text for response in measured.responses} == {"Yes."}


@pytest.mark.parametrize("status", [404, 405])
def test_other_missing_paths_are_not_said_to_be_the_responses_api(status: int, data: Path, tmp_path: Path) -> None:
    def missing(exchange: Exchange) -> None:
        exchange.send(failure("no such model"), status)

    with serve(default=missing) as served, pytest.raises(RunError, match="no such model") as failed:
        ask(served, tmp_path, data, limit=5)
    assert "responses_api" not in str(failed.value)


class Unreachable(Refusal):
    """A judge whose model fails, always."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def judge(self, sample: Sample, response: Any, ask: Any = None) -> Any:
        self.asked.append(sample.id)
        raise JudgeError("the judge's model gave no answer")


def test_a_judges_error_is_asked_again_by_the_next_call_and_not_by_the_same(
    endpoint: Endpoint, data: Path, tmp_path: Path
) -> None:
    judge = Unreachable()
    measured = ask(endpoint, tmp_path, data, limit=5, judges=(judge,))
    assert {each.outcome for each in measured.judgements[judge.id.name]} == {Outcome.ERROR}
    assert len(judge.asked) == 5
    ask(endpoint, tmp_path, data, limit=5, judges=(judge,))
    assert len(judge.asked) == 10
    assert len(endpoint.requests) == 5


# What servers do wrong, each with what must come out -------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A misbehaviour, and the outcome by the judge `refusal`."""

    does: Callable[[Exchange], None]
    outcome: Outcome


def replies(body: Body | list[Any] | str | bytes, status: int = 200, **headers: str) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(body, status, **headers)


def once(fails: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    return lambda exchange: fails(exchange) if exchange.attempt == 1 else exchange.send(completion())


def misbehaviours() -> dict[str, Case]:
    """Some seventy ways to fail."""
    none, error = Outcome.NO_ANSWER, Outcome.ERROR
    answered, refused = Outcome.ANSWERED, Outcome.REFUSED
    cases: dict[str, Case] = {}
    for status in (400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 429, 500, 501, 502, 503, 504, 520, 529):
        cases[f"status-{status}"] = Case(replies(failure(f"no, key {KEY}"), status), error)
    for status in (429, 500, 503):
        cases[f"html-{status}"] = Case(replies(f"<html>Bearer {KEY}</html>", status, Content_Type="text/html"), error)
        cases[f"empty-{status}"] = Case(replies("", status), error)
        cases[f"long-{status}"] = Case(replies(failure("x" * 10_000_000), status), error)
    cases["once-429"] = Case(
        lambda e: e.send(failure("wait"), 429) if e.attempt == 1 else e.send(completion()), answered
    )
    cases["once-500"] = Case(lambda e: e.send(failure("oh"), 500) if e.attempt == 1 else e.send(completion()), answered)
    cases["once-reset"] = Case(lambda e: e.reset() if e.attempt == 1 else e.send(completion()), answered)
    cases["reset"] = Case(lambda e: e.reset(), error)
    cases["hang"] = Case(lambda e: e.hang(), error)
    cases["trickle"] = Case(lambda e: slowly(e, completion(), 0.1), error)
    cases["redirect-loop"] = Case(replies("", 302, Location="/v1/chat/completions"), error)
    for name, text in {
        "truncated": json.dumps(completion())[:80],
        "nothing": "",
        "null": "null",
        "number": "7",
        "array": "[]",
        "string": '"yes"',
        "html": "<html>hello</html>",
        "deep": "[" * 100_000,
        "digits": '{"choices": ' + "9" * 5000 + "}",
    }.items():
        cases[f"body-{name}"] = Case(replies(text), error)
    cases["body-not-utf-8"] = Case(replies(b"\xff\xfe\x00" * 20), error)
    cases["error-in-200"] = Case(replies(failure(f"token {KEY} is used up")), error)
    cases["object-empty"] = Case(replies({}), error)
    cases["choices-null"] = Case(replies({**completion(), "choices": None}), error)
    cases["choices-text"] = Case(replies({**completion(), "choices": "yes"}), error)
    cases["choices-empty"] = Case(replies({**completion(), "choices": []}), none)
    cases["message-null"] = Case(replies({**completion(), "choices": [{"index": 0, "message": None}]}), error)
    for name, content in {"empty": "", "null": None, "space": " \n\t ", "invisible": "\u200b\u200b"}.items():
        cases[f"content-{name}"] = Case(replies(completion(content)), none)
        cases[f"content-{name}-at-limit"] = Case(replies(completion(content, "length")), none)
    for name, odd in {
        "parts": [{"type": "text", "text": "Yes."}],
        "object": {"a": 1},
        "number": 3,
        "true": True,
    }.items():
        cases[f"content-{name}"] = Case(replies(completion(odd)), error)
    call = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    cases["tool-call"] = Case(replies(completion(None, "tool_calls", tool_calls=call)), none)
    cases["tool-call-damaged"] = Case(
        replies(completion("", "tool_calls", tool_calls=[{**call[0], "function": {"name": "f", "arguments": "{"}}])),
        none,
    )
    cases["reasoning-alone"] = Case(replies(completion("", reasoning_content="Let me see.")), none)
    cases["think-alone"] = Case(replies(completion("<think>Let me see.</think>")), none)
    cases["reasoning-and-text"] = Case(replies(completion("Yes.", reasoning_content="I can't help.")), answered)
    cases["finish-error"] = Case(replies(completion("It beg", "error")), none)
    cases["finish-error-empty"] = Case(replies(completion("", "error")), none)
    cases["finish-odd"] = Case(replies(completion("Yes.", "eos_token")), answered)
    cases["finish-null"] = Case(replies(completion("Yes.", None)), answered)
    cases["filter-empty"] = Case(replies(completion("", "content_filter")), refused)
    cases["filter-partial"] = Case(replies(completion("First you take the left door", "content_filter")), answered)
    cases["filter-400"] = Case(
        replies(failure("blocked by the filter", code="content_filter", type="invalid_request_error"), 400), refused
    )
    cases["context-400"] = Case(replies(failure("too long", code="context_length_exceeded"), 400), error)
    cases["refusal-field"] = Case(replies(completion(None, refusal="I can't help with that.")), refused)
    cases["refusal-beside-text"] = Case(replies(completion("Sure: a door.", refusal="No.")), refused)
    cases["surrogate"] = Case(lambda e: e.send(json.dumps(completion("A box \ud800 and a door.")).encode()), answered)
    cases["surrogate-in-error"] = Case(lambda e: e.send(json.dumps(failure("odd \udfff")).encode(), 400), error)
    cases["nul"] = Case(replies(completion("A box\x00.")), answered)
    cases["ten-megabytes"] = Case(replies(completion("a" * 10_000_000)), error)
    cases["think-unfinished"] = Case(replies(completion("<think>Let me see", "length")), none)
    cases["usage-null"] = Case(replies({**completion(), "usage": None}), answered)
    cases["index-missing"] = Case(
        replies(
            {
                **completion(),
                "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
            }
        ),
        answered,
    )
    return cases


def test_no_misbehaviour_of_a_server_ends_a_run(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = misbehaviours()
    samples = tuple(Sample.ask(name, (), f"[{name}] What is shown?", "SSU") for name in cases)
    monkeypatch.setattr(datasets, "read", lambda *_: datasets.Loaded(samples))
    traffic: list[tuple[int, int]] = []
    with serve({name: case.does for name, case in cases.items()}) as served:
        measured = ask(
            served, tmp_path, data, model_args={"responses_api": False}, on_request=lambda *both: traffic.append(both)
        )
    assert len(measured.responses) == len(cases)
    found = {each.sample_id: each.outcome for each in measured.judgements["refusal"]}
    differs = {name: (found[name], case.outcome) for name, case in cases.items() if found[name] is not case.outcome}
    texts = {response.sample_id: response for response in measured.responses}
    assert not differs, "\n".join(
        f"{name} {both} {texts[name].error} {texts[name].text[:40]!r}" for name, both in differs.items()
    )
    odd = [name for name in cases if "not what Inspect expects" in (texts[name].error or "")]
    assert {"content-parts", "content-object", "content-number", "content-true"} <= set(odd)
    published = {each.sample_id: each.outcome for each in measured.judgements["holisafe"]}
    for name, case in cases.items():
        if case.outcome is Outcome.NO_ANSWER:
            assert published[name] is Outcome.ANSWERED, name
    assert traffic[-1][0] == 0 and traffic[-1][1] >= 10
    assert all(response.error is None or 0 < len(response.error) <= 600 for response in measured.responses)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        assert KEY.encode() not in path.read_bytes(), path
