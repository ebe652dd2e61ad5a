"""Inspect finds our tasks and our provider by their names."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

import inspect_ai
import pytest
from inspect_ai.log import write_eval_log
from inspect_ai.model import ChatMessage, GenerateConfig, Model, ModelOutput, ModelUsage, get_model
from inspect_ai.solver import generate
from inspect_ai.tool import ToolChoice, ToolInfo

from holisafe import datasets
from holisafe.bench import read_epochs, read_run
from holisafe.bench._names import inspect_name
from holisafe.bench._task import build_task
from holisafe.errors import RunError, UnknownNameError
from holisafe.report._rows import boards, label_runs
from holisafe.taxonomy import Combination

COMBINED = {"rr", "ssu", "usu", "uuu", "suu"}


def evaluate(data: Path, tmp_path: Path, model: str | Model, **arguments: Any) -> Any:
    (log,) = inspect_ai.eval(
        "holisafe/holisafe_bench",
        model=model,
        task_args={"data": str(data), **arguments},
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert log.status == "success", log.error
    return log


def test_a_task_reports_the_rates_of_each_combination(data: Path, tmp_path: Path) -> None:
    def refuse_if_asked_how(
        messages: list[ChatMessage], tools: list[ToolInfo], choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        refuses = messages[-1].text.startswith("How")
        return ModelOutput.from_content("mock", "I'm sorry, I can't help with that." if refuses else "Sure: a knife.")

    log = evaluate(data, tmp_path, get_model("mockllm/model", custom_outputs=refuse_if_asked_how))
    score = log.results.scores[0]
    rates = {name: metric.value for name, metric in score.metrics.items()}
    assert score.name == "holisafe"
    assert {key.split("_")[-1]: value for key, value in rates.items() if key.split("_")[-1] in COMBINED} == {
        "rr": 0.0,
        "ssu": 0.0,
        "usu": 1.0,
        "uuu": 1.0,
        "suu": 1.0,
    }


@pytest.mark.parametrize(
    ("stop", "thought", "outcome", "why"),
    [
        ("content_filter", None, "refused", ""),
        ("model_length", None, "error", "do not fit the model's context: prompt is too long"),
        ("max_tokens", 512, "no_answer", ""),
        ("max_tokens", None, "no_answer", ""),
    ],
)
def test_what_a_provider_gives_in_an_answers_place_is_none(
    stop: Any, thought: int | None, outcome: str, why: str, data: Path, tmp_path: Path
) -> None:
    def give(
        messages: list[ChatMessage], tools: list[ToolInfo], choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        given = ModelOutput.from_content("mock", "prompt is too long" if stop == "model_length" else "", stop)
        given.usage = ModelUsage(reasoning_tokens=thought)
        return given

    measured = read_run(
        evaluate(data, tmp_path, get_model("mockllm/model", custom_outputs=give), limit=5, judge="refusal").location
    )
    assert {verdict.outcome.value for verdict in measured.judgements["refusal"]} == {outcome}
    assert all(why in (response.error or "") for response in measured.responses)
    assert all((response.error is not None) == (outcome == "error") for response in measured.responses)


def test_a_prefix_of_a_task_holds_all_five_combinations() -> None:
    samples = datasets.load("open", "test")
    first = [sample.id for sample in build_task(samples, ["holisafe"], name="open").dataset][:20]
    combinations = {sample.id: sample.combination for sample in samples}
    assert {combinations[str(name)] for name in first} == set(Combination)


def test_each_judge_is_a_scorer_of_its_own(data: Path, tmp_path: Path) -> None:
    log = evaluate(data, tmp_path, "mockllm/model", judge=["holisafe", "refusal"])
    assert [score.scorer for score in log.results.scores] == ["holisafe", "refusal"]


def test_a_log_of_inspect_reads_back_as_a_run(data: Path, tmp_path: Path) -> None:
    log = evaluate(data, tmp_path, "mockllm/model", limit=10)
    measured = read_run(log.location)
    by_id = {sample.id: sample for sample in datasets.load(str(data), "test")}
    assert len(measured.samples) == 10
    assert all(sample.query == by_id[sample.id].query for sample in measured.samples)
    assert all(image.path is None and image.digest for sample in measured.samples for image in sample.images)
    assert {response.text for response in measured.responses} == {"Default output from mockllm/model"}


def test_the_model_gets_the_image_and_the_raw_query_greedily(data: Path, tmp_path: Path) -> None:
    asked: list[tuple[list[ChatMessage], GenerateConfig]] = []

    def listen(
        messages: list[ChatMessage], tools: list[ToolInfo], choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        asked.append((messages, config))
        return ModelOutput.from_content("mock", "Yes.")

    evaluate(data, tmp_path, get_model("mockllm/model", custom_outputs=listen), limit=5)
    samples = {sample.query: sample for sample in datasets.load(str(data), "test")}
    for (message,), config in asked:
        image, text = message.content
        assert base64.b64decode(image.image.partition(",")[2]) == samples[text.text].images[0].path.read_bytes()  # type: ignore
        assert (config.temperature, config.max_tokens) == (0.0, 512)


def test_the_provider_answers_tasks_that_are_not_ours(checkpoint: Path, tmp_path: Path, data: Path) -> None:
    image = next((data / "images").rglob("*.png"))
    message = inspect_ai.model.ChatMessageUser(
        content=[inspect_ai.model.ContentImage(image=str(image)), inspect_ai.model.ContentText(text="What?")]
    )
    task = inspect_ai.Task(dataset=[inspect_ai.dataset.Sample(input=[message])], solver=generate())
    (log,) = inspect_ai.eval(
        task,
        model=f"holisafe/{checkpoint}",
        model_args={"device": "cpu", "dtype": "float32", "batch_size": 2},
        max_tokens=5,
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert log.status == "success", log.error
    assert log.samples is not None
    usage = log.samples[0].output.usage
    assert usage is not None and 0 < usage.output_tokens <= 5


def test_a_setting_that_the_engine_lacks_is_refused_rather_than_ignored(checkpoint: Path, tmp_path: Path) -> None:
    task = inspect_ai.Task(dataset=[inspect_ai.dataset.Sample(input="What?")], solver=generate())
    (log,) = inspect_ai.eval(
        task,
        model=f"holisafe/{checkpoint}",
        num_choices=2,
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert log.status == "error"
    assert log.error is not None and "num_choices" in log.error.message


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("pocket", "holisafe/pocket"),
        ("mockllm/model", "mockllm/model"),
        ("openai/gpt-4o", "openai/gpt-4o"),
        ("llava-hf/llava-1.5-7b-hf", "holisafe/llava-hf/llava-1.5-7b-hf"),
        ("holisafe/google/gemma-3-4b-it", "holisafe/google/gemma-3-4b-it"),
    ],
)
def test_a_name_means_one_model(model: str, expected: str) -> None:
    assert inspect_name(model) == expected


def test_a_folder_is_a_local_model(checkpoint: Path) -> None:
    assert inspect_name(str(checkpoint)) == f"holisafe/{checkpoint}"


def test_a_name_that_means_nothing_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="pocket"):
        inspect_name("pocke")


def test_a_log_is_scored_again_by_any_judge_without_asking(data: Path, tmp_path: Path) -> None:
    log = evaluate(data, tmp_path, "mockllm/model", limit=10)
    again = subprocess.run(
        [
            *(sys.executable, "-m", "inspect_ai", "score", log.location),
            *("--scorer", "holisafe/refusal", "--action", "append", "--overwrite"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr + again.stdout
    assert read_run(log.location).judgements.keys() == {"holisafe", "refusal"}


def test_a_judge_that_shows_images_refuses_a_log_without_them(data: Path, tmp_path: Path) -> None:
    log = evaluate(data, tmp_path, "mockllm/model", limit=10)
    again = subprocess.run(
        [
            *(sys.executable, "-m", "inspect_ai", "score", log.location, "--scorer", "holisafe/rubric"),
            *("--model-role", "grader=mockllm/model", "--action", "append", "--overwrite"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join((again.stderr + again.stdout).split())
    assert again.returncode != 0
    assert "RunError" in said and "the log holds no images" in said and "holisafe bench" in said
    assert read_run(log.location).judgements.keys() == {"holisafe"}


def test_a_score_says_right_or_wrong_and_the_combination(data: Path, tmp_path: Path) -> None:
    log = evaluate(data, tmp_path, "mockllm/model")
    assert [score.reducer for score in log.results.scores] == [None] * len(log.results.scores)
    values = {sample.scores["holisafe"].value for sample in log.samples if sample.metadata["combination"] == "SSU"}
    assert values == {"I"}
    assert {sample.scores["holisafe"].value for sample in log.samples if sample.metadata["combination"] == "SSS"} == {
        "C"
    }
    assert log.results.scores[0].metrics["accuracy"].value == 0.2


def test_several_epochs_read_back_with_the_outcome_that_most_have(data: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def refuse_twice(messages: list[ChatMessage], *_: Any) -> ModelOutput:
        asked.append(messages[-1].text)
        again = asked.count(messages[-1].text) == 2
        return ModelOutput.from_content("mock", "Sure." if again else "I'm sorry, but I can't.")

    (log,) = inspect_ai.eval(
        "holisafe/holisafe_bench",
        model=get_model("mockllm/model", custom_outputs=refuse_twice),
        task_args={"data": str(data), "limit": 5},
        epochs=3,
        max_samples=1,
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    measured = read_run(log.location)
    assert len(measured.samples) == 5
    assert {each.outcome.value for each in measured.judgements["holisafe"]} == {"refused"}
    assert measured.provenance["epochs"] == 3

    epochs = read_epochs(log.location)
    outcomes = [{each.outcome.value for each in run.judgements["holisafe"]} for run in epochs]
    assert outcomes == [{"refused"}, {"answered"}, {"refused"}]
    assert [run.samples == measured.samples for run in epochs] == [True] * 3
    (row,) = boards(label_runs(epochs))[0].rows
    assert row.repeats.runs == 3 and row.repeats.between["rr"] == pytest.approx(3**-0.5)


@pytest.mark.parametrize("change", [{"status": "cancelled"}, {"samples": 3}])
def test_an_incomplete_log_is_refused(change: dict[str, Any], data: Path, tmp_path: Path) -> None:
    log = evaluate(data, tmp_path, "mockllm/model", limit=5)
    if "status" in change:
        log.status = change["status"]
    else:
        log.samples = log.samples[: change["samples"]]
    write_eval_log(log, str(tmp_path / "part.eval"))
    with pytest.raises(RunError, match="not complete"):
        read_run(tmp_path / "part.eval")
