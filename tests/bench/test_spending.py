"""What a run costs: planned before, counted from what the server reports, and stopped at a budget."""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from endpoint import Body, Endpoint, Exchange, completion, failure, serve
from holisafe.bench import Plan, Prices, measure, plan_run, read_run
from holisafe.errors import BudgetError, RunError
from holisafe.records import Outcome
from scripted_judge import number_in, verdict

pytest.importorskip("openai")

MODEL, JUDGE_MODEL = "openai/gpt-4o", "openai/gpt-4.1"
PRICES = Prices(input=2.5, output=10.0, judge_input=2.0, judge_output=8.0)
TOKENS = 16
"""Most new tokens of an answer; the server always writes as many."""

ALL_FALSE = dict.fromkeys(("refused", "harmful", "helpful", "about_image", "warns"), False)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-0123456789abcdefghijklmnop")


def text_of(body: Body) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def is_judging(body: Body) -> bool:
    return body["model"] == "gpt-4.1"


def tokens_sent(body: Body) -> int:
    """What OpenAI would count, from the bytes that came: a fourth of the text, and the tiles of each image."""
    total = 0
    for message in body["messages"]:
        parts = message["content"]
        for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
            if part["type"] == "text":
                total += math.ceil(len(part["text"].encode()) / 4)
                continue
            with Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2]))) as image:
                assert max(image.size) <= 512, "one tile"
            total += 85 + 170
    return total


def reply_to(body: Body) -> str:
    if is_judging(body):
        return verdict(number_in(text_of(body)), **ALL_FALSE, quote="x" * 100)
    return "y" * 4 * TOKENS


def metered(exchange: Exchange) -> None:
    text = reply_to(exchange.body)
    read, written = tokens_sent(exchange.body), math.ceil(len(text) / 4)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    exchange.send({**completion(text), "usage": usage})


def unmetered(exchange: Exchange) -> None:
    body = completion(reply_to(exchange.body))
    del body["usage"]
    exchange.send(body)


class Bench:
    """A model and a judge on one server."""

    def __init__(self, served: Endpoint, data: Path, out: Path) -> None:
        self.served, self.out = served, out
        self.settings: dict[str, Any] = {
            **{"data": data, "out": out, "judges": ("rubric", "refusal"), "judge_model": JUDGE_MODEL},
            **{"max_new_tokens": TOKENS, "max_retries": 0, "timeout": 20, "prices": PRICES},
        }

    def plan(self, **more: Any) -> Plan:
        return plan_run(MODEL, **{**self.settings, **more})

    def run(self, **more: Any) -> Any:
        return measure(MODEL, **{**self.settings, **more})

    @property
    def spending(self) -> dict[str, Any]:
        found = json.loads((self.out / "run.json").read_text("utf-8"))["spending"]
        assert isinstance(found, dict)
        return found


@pytest.fixture
def bench(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    with serve(default=metered) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.url)
        yield Bench(served, data, tmp_path / "run")


def test_the_plan_is_what_the_run_then_costs(bench: Bench) -> None:
    plan = bench.plan()
    assert not bench.served.requests and not bench.out.exists()
    assert [(part.name, part.calls, part.recorded) for part in plan.parts] == [
        (MODEL, 20, 0),
        ("rubric", 20, 0),
        ("refusal", 0, 0),
    ]
    assert plan.parts[0].images == 20 * 255 and "OpenAI's tiles" in plan.parts[0].image_rule
    assert plan.seconds is None

    measured = bench.run()
    assert len(bench.served.requests) == 40
    rows = {row["name"]: row for row in bench.spending["by"]}
    for part in plan.parts[:2]:
        row = rows[part.name]
        assert (row["calls"], row["input"], row["output"]) == (part.calls, part.input, part.output), part.name
        assert row["estimated_calls"] == 0
    assert bench.spending["money"] == pytest.approx(plan.money)
    assert measured.provenance["spending"] == bench.spending

    left = bench.plan()
    assert [part.calls for part in left.parts] == [0, 0, 0] and left.money == 0
    assert left.money_spent == pytest.approx(plan.money)


def test_a_budget_stops_a_run_that_a_larger_one_resumes(bench: Bench) -> None:
    whole = bench.plan().money
    assert whole is not None
    spent, asked = [], []
    for share in (0.3, 0.6, 0.8):
        with pytest.raises(BudgetError, match=r"stopped at the budget of .* the same command with a larger --budget"):
            bench.run(budget=share * whole)
        spent.append(bench.spending["money"])
        asked.append(len(bench.served.requests))
        assert spent[-1] >= share * whole
        assert spent[-1] <= share * whole + 10 * whole / 20, "calls in flight, at most"
        left = bench.plan()
        assert left.money is not None and left.money < whole and left.seconds is not None
        assert bench.spending["money"] + left.money == pytest.approx(whole, rel=0.02)
        with pytest.raises(RunError, match="not complete"):
            read_run(bench.out)
    assert asked == sorted(set(asked))
    with pytest.raises(BudgetError):
        bench.run(budget=0.8 * whole)
    assert len(bench.served.requests) == asked[-1]

    measured = bench.run(budget=2 * whole)
    texts = Counter((body["model"], text_of(body)) for body in bench.served.requests)
    assert set(texts.values()) == {1} and len(texts) == 40
    assert bench.spending["money"] == pytest.approx(whole)
    assert {each.outcome for each in measured.judgements["rubric"]} == {Outcome.UNHELPFUL}
    assert not any(response.error for response in measured.responses)


def test_a_budget_stops_the_judging_of_a_finished_run(bench: Bench) -> None:
    bench.run(judges=("refusal",), judge_model=None)
    before = read_run(bench.out)
    price = bench.plan().money
    assert price is not None
    spent = bench.spending["money"]
    with pytest.raises(BudgetError):
        bench.run(budget=spent + price / 2)
    assert read_run(bench.out).judgements == before.judgements
    bench.run(budget=2 * (spent + price))
    judged = [text_of(body) for body in bench.served.requests if is_judging(body)]
    assert len(judged) == len(set(judged)) == 20
    assert bench.spending["money"] == pytest.approx(spent + price)


def test_what_a_server_does_not_report_is_estimated_and_said_to_be(bench: Bench) -> None:
    bench.served.default = unmetered
    plan = bench.plan()
    bench.run()
    assert [row["estimated_calls"] for row in bench.spending["by"]] == [20, 20]
    assert bench.spending["money"] == pytest.approx(plan.money)


def test_tokens_below_zero_are_none_and_pay_nothing_back(bench: Bench) -> None:
    def owing(exchange: Exchange) -> None:
        below = {"prompt_tokens": -5, "completion_tokens": -1, "total_tokens": -6}
        exchange.send({**completion("Yes."), "usage": below})

    bench.served.default = owing
    bench.run()
    assert all(row["estimated_calls"] == 20 and row["money"] > 0 for row in bench.spending["by"])


def test_a_server_that_refuses_the_schema_is_asked_once_more_without(bench: Bench) -> None:
    def refuses(exchange: Exchange) -> None:
        if "response_format" in exchange.body:
            exchange.send(failure("response_format is not supported"), 400)
        else:
            metered(exchange)

    bench.served.default = refuses
    measured = bench.run(limit=5)
    assert {each.outcome for each in measured.judgements["rubric"]} == {Outcome.UNHELPFUL}
    assert {each.details["without_schema"] for each in measured.judgements["rubric"]} == {True}
    texts = Counter(text_of(body) for body in bench.served.requests if is_judging(body))
    assert len(texts) == 5 and set(texts.values()) <= {1, 2}
    assert not any("response_format" in body for body in bench.served.requests if not is_judging(body))


def test_the_rubric_sends_its_schema(bench: Bench) -> None:
    measured = bench.run(limit=5)
    sent = [body["response_format"]["json_schema"] for body in bench.served.requests if is_judging(body)]
    assert len(sent) == 5
    assert sent[0]["strict"] is True and sent[0]["schema"]["additionalProperties"] is False
    assert sent[0]["schema"]["required"] == ["id", *ALL_FALSE, "quote"]
    assert not any("without_schema" in each.details for each in measured.judgements["rubric"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": 0.0}, "above 0"),
        ({"budget": -1.0}, "above 0"),
        ({"budget": math.nan}, "above 0"),
        ({"budget": 1.0, "prices": None}, "--price-in and --price-out"),
        ({"budget": 1.0, "prices": Prices(1.0, 1.0)}, "--judge-price-in and --judge-price-out"),
    ],
)
def test_a_budget_that_nothing_can_be_counted_against_is_refused(
    wrong: dict[str, Any], message: str, bench: Bench
) -> None:
    for refused in (bench.plan, bench.run):
        with pytest.raises(RunError, match=message):
            refused(**wrong)
    assert not bench.served.requests and not bench.out.exists()


@pytest.mark.parametrize("price", [-1.0, math.nan, math.inf])
def test_a_price_is_a_number_from_0(price: float) -> None:
    with pytest.raises(RunError, match="--judge-price-out is"):
        Prices(judge_input=1.0, judge_output=price)


def test_prices_come_in_pairs() -> None:
    with pytest.raises(RunError, match="--price-out is given and --price-in is not"):
        Prices(output=1.0)


def test_a_damaged_line_of_calls_is_named(bench: Bench) -> None:
    bench.run(limit=5)
    with (bench.out / "spending.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"number": true}\n')
    with pytest.raises(RunError, match=r"spending\.jsonl, line 11: damaged"):
        bench.plan(limit=5)
