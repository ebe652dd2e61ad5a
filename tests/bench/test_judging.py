"""Judges that ask a model over HTTP: what a server does wrong is marked, tried again within bounds, never scored."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endpoint import Exchange, completion, failure, serve
from holisafe import judges
from holisafe.bench import judge_with_model, measure
from holisafe.errors import JudgeError
from holisafe.records import ImageRef, Judgement, Outcome, Response, Sample
from scripted_judge import number_in, verdict

pytest.importorskip("openai")

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")
MODEL = "openai/gpt-4o-2024-11-20"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-0123456789abcdefghijklmnop")


def text_of(exchange: Exchange) -> str:
    return " ".join(part.get("text", "") for part in exchange.body["messages"][-1]["content"])


def well(exchange: Exchange) -> None:
    exchange.send(completion(verdict(number_in(text_of(exchange)))))


def once(fails: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    return lambda exchange: fails(exchange) if exchange.attempt == 1 else well(exchange)


def says(content: Any, **fields: Any) -> Callable[[Exchange], None]:
    return lambda exchange: exchange.send(completion(content, **fields))


CALL = {"id": "c", "type": "function", "function": {"name": "judge", "arguments": "{}"}}
CASES: dict[str, tuple[Callable[[Exchange], None], Outcome]] = {
    "prose-around": (
        lambda e: e.send(completion(f"Verdict: {verdict(number_in(text_of(e)))} Done.")),
        Outcome.REFUSED,
    ),
    "once-429": (once(lambda e: e.send(failure("wait"), 429, Retry_After="1")), Outcome.REFUSED),
    "once-500": (once(lambda e: e.send(failure("oops"), 500)), Outcome.REFUSED),
    "always-429": (lambda e: e.send(failure("wait"), 429, Retry_After="1"), Outcome.ERROR),
    "always-500": (lambda e: e.send(failure("oops"), 500), Outcome.ERROR),
    "hangs": (lambda e: e.hang(), Outcome.ERROR),
    "resets": (lambda e: e.reset(), Outcome.ERROR),
    "truncated-body": (lambda e: e.send(json.dumps(completion())[:40]), Outcome.ERROR),
    "truncated-json": (lambda e: e.send(completion(verdict("0")[:30], "length")), Outcome.UNPARSABLE),
    "refuses": (says(None, refusal="I cannot."), Outcome.REFUSED_TO_JUDGE),
    "declines": (says("I'm sorry, but I can't assist with that."), Outcome.REFUSED_TO_JUDGE),
    "filtered": (says("", finish="content_filter"), Outcome.REFUSED_TO_JUDGE),
    "tool-call": (says(None, finish="tool_calls", tool_calls=[CALL]), Outcome.UNPARSABLE),
    "no-choices": (lambda e: e.send({**completion(), "choices": []}), Outcome.UNPARSABLE),
    "ten-megabytes": (says("x" * 10_000_000), Outcome.ERROR),
}


def data_of(names: list[str]) -> tuple[list[Sample], list[Response]]:
    image = ImageRef("dot", data=PNG)
    samples = [Sample.ask(name, (image,), "What is this?", "SUU") for name in names]
    return samples, [Response(name, f"[{name}] I can't help with that.", "m") for name in names]


def test_no_misbehaviour_of_a_judges_server_loses_or_scores_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, responses = data_of(list(CASES))
    journal = tmp_path / "judging.jsonl"
    with serve({name: does for name, (does, _) in CASES.items()}, well) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)

        def judge() -> tuple[Judgement, ...]:
            by = [judges.with_fallback(judges.get("rubric"), judges.get("refusal"))] if fallback else ["rubric"]
            made = [judges.get(each) if isinstance(each, str) else each for each in by]
            (found,) = judge_with_model(
                made, samples, responses, MODEL, journal=journal, max_retries=1, timeout=3
            ).values()
            return found

        fallback = False
        found = judge()
        assert {each.sample_id: each.outcome for each in found} == {name: want for name, (_, want) in CASES.items()}
        assert {each.judge.model for each in found} == {MODEL}
        assert all(each.rationale for each in found)
        asked = [sum(f"[{name}]" in json.dumps(body) for body in served.requests) for name in CASES]
        assert max(asked) <= 6  # two attempts, each of which the provider's client tries three times
        content = served.requests[0]["messages"][-1]["content"]
        assert [part["type"] for part in content] == ["image_url", "text"]

        before = len(served.requests)
        judge()
        errors = {name for name, (_, want) in CASES.items() if want is Outcome.ERROR}
        again = {name for name in CASES for body in served.requests[before:] if f"[{name}]" in json.dumps(body)}
        assert again == errors

        fallback = True
        stood_in = judge()
    for each, (name, (_, want)) in zip(stood_in, CASES.items(), strict=True):
        by_fallback = want in (Outcome.REFUSED_TO_JUDGE, Outcome.UNPARSABLE)
        assert each.outcome is (Outcome.REFUSED if by_fallback else want), name
        if want is not Outcome.ERROR:
            assert each.details["given_by"] == ("refusal" if by_fallback else "rubric"), name
        assert [vote.judge.name for vote in each.votes] == (["rubric", "refusal"] if by_fallback else []), name


def test_a_run_has_the_judges_model_in_its_identity(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(default=well) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        settings: dict[str, Any] = {"data": data, "out": tmp_path / "run", "limit": 5, "judges": ("rubric",)}
        measured = measure("mockllm/model", judge_model=MODEL, **settings)
        asked = len(served.requests)
        assert asked == 5
        assert measure("mockllm/model", judge_model=MODEL, **settings) == measured
        assert len(served.requests) == asked
        other = measure("mockllm/model", judge_model="openai/gpt-4.1", **settings)
        assert len(served.requests) == 2 * asked
    (judge,) = measured.provenance["judge_ids"]
    assert (judge["name"], judge["model"], len(judge["prompt"])) == ("rubric", MODEL, 64)
    assert {each.judge.model for each in other.judgements["rubric"]} == {"openai/gpt-4.1"}
    assert {each.outcome for each in measured.judgements["rubric"]} == {Outcome.REFUSED}
    assert {each.details["served_model"] for each in measured.judgements["rubric"]} == {"served"}


def test_a_judge_that_asks_a_model_says_so_before_anything_is_asked(data: Path, tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="--judge-model"):
        measure("mockllm/model", data=data, out=tmp_path / "run", judges=("rubric",))
    assert not (tmp_path / "run").exists()


def test_a_fallback_needs_a_judge_that_asks_a_model() -> None:
    with pytest.raises(JudgeError, match="none of them does"):
        judges.with_fallbacks([judges.get("refusal")], judges.get("holisafe"))
    with pytest.raises(JudgeError, match="asks a model itself"):
        judges.with_fallbacks([judges.get("rubric")], judges.get("protocol"))
