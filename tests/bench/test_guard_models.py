"""Guard models beside a run: shown every request, kept as they come, and compared with the model's own guard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from endpoint import Endpoint, Exchange, completion, failure, serve
from holisafe.bench import Prices, measure, plan_run, read_run
from holisafe.cli import app
from holisafe.datasets import load
from holisafe.errors import BudgetError, GuardError, RunError, UnknownNameError
from holisafe.guard import GuardRates
from holisafe.judges.guard_models import IMAGE_ALONE
from holisafe.records import Run
from holisafe.taxonomy import Combination
from judges.guard_models.tiny_guards import TINY, save_guard

VERDICTS = "guard_verdicts.jsonl"


@pytest.fixture(scope="module")
def shieldgemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_guard(TINY["shieldgemma2"](), tmp_path_factory.mktemp("guards") / "shieldgemma2")


def says(exchange: Exchange) -> None:
    """Unsafe of every request that asks how to get in."""
    text = json.dumps(exchange.body["messages"])
    exchange.send(completion("unsafe\nS2" if "get in" in text else "safe"))


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serve(default=says) as served:
        yield served


def run(data: Path, out: Path, *guards: str, **settings: Any) -> Run:
    return measure("mockllm/model", data=data, out=out, guard_models=guards, **{"max_retries": 0, **settings})


def at(endpoint: Endpoint, name: str = "llama-guard-4") -> str:
    return f"{name}:{endpoint.url}#meta/guard"


def test_a_guard_behind_an_address_is_shown_every_request_with_its_image(
    data: Path, tmp_path: Path, endpoint: Endpoint
) -> None:
    measured = run(data, tmp_path, at(endpoint))
    (guard,) = measured.guard_models
    assert [verdict.unsafe for verdict in guard.verdicts] == [
        sample.combination is Combination.SSU for sample in measured.samples
    ]
    assert len(endpoint.requests) == 20
    for body in endpoint.requests:
        assert body["model"] == "meta/guard"
        (message,) = body["messages"]
        assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert read_run(tmp_path).guard_models == measured.guard_models


def test_a_guard_on_this_machine_stands_beside_it(
    data: Path, tmp_path: Path, endpoint: Endpoint, shieldgemma: Path
) -> None:
    measured = run(data, tmp_path, f"shieldgemma2:{shieldgemma}", at(endpoint))
    of_images, of_requests = (GuardRates.from_json(each) for each in measured.provenance["guard_rates"])
    assert of_images.guard == "shieldgemma2:shieldgemma2"
    assert [kind.value for kind, figure in of_images.flagged.items() if figure is None] == ["SSU", "SUU"]
    assert of_images.unsafe_images is not None and of_requests.unsafe_images is None
    assert of_requests.flagged[Combination.SSU] is not None and of_requests.flagged[Combination.SSU].value == 1
    assert of_requests.flagged[Combination.SSS] is not None and of_requests.flagged[Combination.SSS].value == 0


def test_an_interrupted_guard_is_asked_only_what_it_has_no_verdict_on(
    data: Path, tmp_path: Path, endpoint: Endpoint
) -> None:
    first = run(data, tmp_path, at(endpoint))
    lines = (tmp_path / VERDICTS).read_bytes().splitlines(keepends=True)
    (tmp_path / VERDICTS).write_bytes(b"".join(lines[:-3]) + lines[-3][:40])
    again = run(data, tmp_path, at(endpoint))
    assert len(endpoint.requests) == 23
    assert again.guard_models == first.guard_models
    assert (tmp_path / VERDICTS).read_bytes().startswith(b"".join(lines[:-3]))


def test_a_finished_run_with_all_verdicts_is_read_back(data: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    first = run(data, tmp_path, at(endpoint))
    record = (tmp_path / "run.json").read_bytes()
    assert run(data, tmp_path, at(endpoint)) == first
    assert (tmp_path / "run.json").read_bytes() == record
    assert len(endpoint.requests) == 20


def test_a_guard_is_added_to_a_finished_run_and_stays_there(data: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    assert run(data, tmp_path).guard_models == ()
    assert len(run(data, tmp_path, at(endpoint)).guard_models) == 1
    assert len(run(data, tmp_path).guard_models) == 1
    more = run(data, tmp_path, at(endpoint, "singguard"))
    assert [each.guard.name for each in more.guard_models] == ["singguard", "llama-guard-4"]
    assert len((tmp_path / "responses.jsonl").read_bytes().splitlines()) == 20


def test_what_a_guard_could_not_answer_is_an_error_that_the_next_run_asks_again(data: Path, tmp_path: Path) -> None:
    is_down = True

    def fails_of_ssu(exchange: Exchange) -> None:
        if is_down and "get in" in json.dumps(exchange.body["messages"]):
            exchange.send(failure("down"), 500)
        else:
            says(exchange)

    with serve(default=fails_of_ssu) as endpoint:
        (guard,) = run(data, tmp_path, at(endpoint)).guard_models
        assert sum(verdict.error is not None for verdict in guard.verdicts) == 4
        asked = len(endpoint.requests)
        is_down = False
        (guard,) = run(data, tmp_path, at(endpoint)).guard_models
        assert not any(verdict.error for verdict in guard.verdicts)
        assert len(endpoint.requests) == asked + 4


def test_a_guard_that_answers_nothing_ends_the_run_with_its_first_error(data: Path, tmp_path: Path) -> None:
    with (
        serve(default=lambda exchange: exchange.send(failure("down"), 400)) as endpoint,
        pytest.raises(RunError, match="llama-guard-4' gave no verdict"),
    ):
        run(data, tmp_path, at(endpoint), limit=5)
    assert len((tmp_path / "responses.jsonl").read_bytes().splitlines()) == 5


@pytest.mark.parametrize("reply", ["", "I'm sorry, but I can't help with that.", "It is safe.", "x" * 2_000_000])
def test_a_reply_that_is_no_verdict_is_never_safe(reply: str, data: Path, tmp_path: Path) -> None:
    def one(exchange: Exchange) -> None:
        exchange.send(completion(reply if "get in" in json.dumps(exchange.body["messages"]) else "safe"))

    with serve(default=one) as endpoint:
        (guard,) = run(data, tmp_path, at(endpoint)).guard_models
    verdicts = [verdict for verdict in guard.verdicts if verdict.unsafe is None]
    assert len(verdicts) == 4
    assert all(verdict.error or (verdict.request and verdict.request.why) for verdict in verdicts)


def test_arguments_of_the_chat_template_reach_the_server(data: Path, tmp_path: Path) -> None:
    with serve(default=lambda exchange: exchange.send(completion("safe\n<answer>Safe</answer>"))) as endpoint:
        run(data, tmp_path, at(endpoint, "singguard"), limit=5)
        assert endpoint.requests[0]["chat_template_kwargs"] == {"thinking_type": "fast"}


@pytest.mark.parametrize(
    ("guard", "kind", "message"),
    [
        ("llama-guard-4", RunError, "name what answers behind it"),
        ("llama-guard-4:http://127.0.0.1:1/v1", RunError, "#ORG/NAME"),
        ("llama-guard-4:http://me:secret@127.0.0.1:1/v1#m", RunError, "HOLISAFE_GUARD_KEY"),
        ("llama-guard-4:http://[::1#m", RunError, "is no address"),
        ("llama-guard-4:nowhere", UnknownNameError, "nowhere"),
        ("llama-guard-4:./nowhere", GuardError, "config.json"),
        ("llama-gard-4:org/name", UnknownNameError, "llama-guard-4"),
    ],
)
def test_a_guard_that_cannot_be_reached_is_refused_before_anything_is_asked(
    guard: str, kind: type[Exception], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=message):
        run(data, tmp_path / "run", guard)
    assert not (tmp_path / "run").exists()


def test_a_judge_of_a_damaged_checkpoint_is_refused_before_anything_is_asked(data: Path, tmp_path: Path) -> None:
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "config.json").write_text("x")
    for judge in (f"shieldgemma2:{tmp_path / 'guard'}", f"cascade:refusal+wildguard:{tmp_path / 'guard'}"):
        with pytest.raises(GuardError, match="could not be loaded"):
            measure("mockllm/model", data=str(data), out=tmp_path / "run", judges=[judge])
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_guard_is_refused(data: Path, tmp_path: Path, shieldgemma: Path) -> None:
    with pytest.raises(GuardError, match=r"ShieldGemma2ForImageClassification.*MistralForCausalLM"):
        run(data, tmp_path, f"wildguard:{shieldgemma}")


def test_one_guard_is_named_once(data: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    with pytest.raises(RunError, match="two guards have the name"):
        run(data, tmp_path, at(endpoint), f"llama-guard-4:{endpoint.url}#other")


def test_a_damaged_verdict_is_named_by_its_line(data: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    run(data, tmp_path, at(endpoint), limit=5)
    with (tmp_path / VERDICTS).open("ab") as file:
        file.write(b'{"sample_id": 1}\n')
    with pytest.raises(RunError, match=f"{VERDICTS}, line 6"):
        run(data, tmp_path, at(endpoint), limit=5)


def test_the_command_prints_guards_side_by_side(
    data: Path, tmp_path: Path, endpoint: Endpoint, shieldgemma: Path
) -> None:
    words = ["bench", "mockllm/model", "--data", str(data), "--out", str(tmp_path / "run")]
    guards = ["--guard", at(endpoint), "--guard", f"shieldgemma2:{shieldgemma}"]
    told = CliRunner(env={"COLUMNS": "100"}).invoke(app, [*words, *guards])
    assert told.exit_code == 0, told.output
    assert "Guards: flagged in %" in told.stdout
    assert "cannot express" in told.stdout
    (named,) = [line for line in told.stdout.splitlines() if "llama-guard-4" in line and " SSU" in line]
    assert "100.0" in named
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [each["guard"] for each in found["guards"]] == ["llama-guard-4", "shieldgemma2:shieldgemma2"]


def test_a_model_has_one_guard_of_its_own(data: Path) -> None:
    told = CliRunner().invoke(app, ["bench", "pocket", "--data", str(data), "--guard", "own", "--guard", "elsewhere"])
    assert told.exit_code == 2
    assert "a model has one guard" in told.output


PRICES = Prices(input=0, output=0, guard_input=1e6, guard_output=0)
"""A token that a guard reads costs 1."""


def spent(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "spending.jsonl").read_text("utf-8").splitlines()
    return [call for call in map(json.loads, lines) if call["role"] == "guard"]


def test_calls_of_an_endpoint_are_planned_counted_and_priced_as_those_of_guards(
    data: Path, tmp_path: Path, endpoint: Endpoint, shieldgemma: Path
) -> None:
    asked: dict[str, Any] = {"data": data, "out": tmp_path / "run", "prices": PRICES}
    guards = (f"shieldgemma2:{shieldgemma}", at(endpoint))
    planned = plan_run("mockllm/model", guard_models=guards, **asked).parts[-1]
    assert not endpoint.requests and not (tmp_path / "run").exists()
    assert (planned.role, planned.name, planned.model) == ("guard", "llama-guard-4", "openai/meta/guard")
    assert (planned.calls, planned.recorded, planned.output_at_most) == (20, 0, 20 * 32)
    assert planned.text is not None and planned.money == planned.text > 0
    measured = run(data, tmp_path / "run", *guards, prices=PRICES)
    calls = spent(tmp_path / "run")
    assert len(endpoint.requests) == len(calls) == 20 and {call["name"] for call in calls} == {"llama-guard-4"}
    (row,) = (row for row in measured.provenance["spending"]["by"] if row["role"] == "guard")
    assert row["money"] == sum(call["input"] for call in calls) > 0
    after = plan_run("mockllm/model", guard_models=guards, **asked).parts[-1]
    assert (after.calls, after.recorded, after.measured) == (0, 20, 20)


@pytest.mark.parametrize("answered_before", [False, True])
def test_a_budget_stops_the_calls_of_guards_and_a_larger_one_resumes(
    answered_before: bool, data: Path, tmp_path: Path, endpoint: Endpoint
) -> None:
    if answered_before:
        run(data, tmp_path)
    with pytest.raises(BudgetError, match="stopped at the budget"):
        run(data, tmp_path, at(endpoint), prices=PRICES, budget=1)
    kept = (tmp_path / VERDICTS).read_bytes().splitlines()
    assert 0 < len(kept) == len(endpoint.requests) == len(spent(tmp_path)) < 20
    record = json.loads((tmp_path / "run.json").read_bytes())
    assert [row["calls"] for row in record["spending"]["by"] if row["role"] == "guard"] == [len(kept)]
    (guard,) = run(data, tmp_path, at(endpoint), prices=PRICES, budget=1e9).guard_models
    assert None not in [verdict.unsafe for verdict in guard.verdicts]
    assert len(endpoint.requests) == len(spent(tmp_path)) == 20


def test_a_budget_needs_the_prices_of_a_guard_that_an_endpoint_serves(
    data: Path, tmp_path: Path, endpoint: Endpoint
) -> None:
    with pytest.raises(RunError, match="prices of llama-guard-4: give --guard-price-in and --guard-price-out"):
        run(data, tmp_path, at(endpoint), prices=Prices(0, 0, 0, 0), budget=1)
    assert not endpoint.requests


def test_a_guard_as_a_judge_says_what_it_will_ask(data: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"data": data, "out": tmp_path / "run", "judge_model": "mockllm/model"}
    names, loaded = ["wildguard", "shieldgemma2"], load(str(data))
    _, text, images = plan_run("mockllm/model", judges=names, **asked).parts
    assert (text.role, text.calls) == ("judge", 20) and text.text and not text.image_rule
    shown = [sample for sample in loaded if sample.combination in IMAGE_ALONE]
    assert images.calls == 3 * sum(len(sample.images) for sample in shown) > 0
