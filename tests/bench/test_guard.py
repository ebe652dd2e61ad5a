"""A guarded model's verdicts are recorded with its answers, and survive what answers survive."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import inspect_ai
import pytest
from typer.testing import CliRunner

import tiny_models
from holisafe import datasets
from holisafe.bench import measure, read_run
from holisafe.cli import app
from holisafe.errors import ModelError, RunError
from holisafe.guard import attach_guard, guard_findings, save_guard
from holisafe.models import Engine, GenerationOptions, Prompt, load
from holisafe.records import Response, Run
from holisafe.records.as_json import response_from_json, response_to_json


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a guard of its own."""
    tiny = tiny_models.llava()
    folder = tiny_models.save(tiny, tmp_path_factory.mktemp("guarded"))
    attach_guard(tiny.model)
    save_guard(tiny.model, folder / "guard")
    return folder


@pytest.fixture(scope="module")
def measured(guarded: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run with the guard, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    return measure(str(guarded), data=str(data), out=folder, max_new_tokens=4, guard="own"), folder


def test_every_answer_is_recorded_with_the_verdicts_on_its_images_and_its_request(
    measured: tuple[Run, Path], guarded: Path, data: Path
) -> None:
    samples = datasets.load(str(data), "test")
    loaded = load(str(guarded), guard="own")
    with Engine(loaded.model, loaded.processor, batch_size=1, reuse=False) as engine:
        direct = engine.answer([Prompt.of(sample) for sample in samples], GenerationOptions(max_new_tokens=4))
    for response, answer in zip(measured[0].responses, direct, strict=True):
        assert answer.verdict.request is not None
        assert response.text == answer.text
        assert response.verdict.request is not None
        (verdict,), (expected,) = response.verdict.images, answer.verdict.images
        assert verdict.distribution == pytest.approx(expected.distribution, abs=1e-4)
        assert response.verdict.request.distribution == pytest.approx(answer.verdict.request.distribution, abs=1e-4)
        assert response.verdict.request.categories == pytest.approx(answer.verdict.request.categories, abs=1e-4)


def test_verdicts_read_back_from_the_folder_and_from_the_log_alone(measured: tuple[Run, Path], tmp_path: Path) -> None:
    found, folder = measured
    assert read_run(folder).responses == found.responses
    (log,) = (folder / "logs").glob("*.eval")
    assert read_run(shutil.copy(log, tmp_path / "copy.eval")).responses == found.responses


def test_verdicts_in_the_journal_are_not_asked_for_again(
    measured: tuple[Run, Path], guarded: Path, data: Path, tmp_path: Path
) -> None:
    found, folder = measured
    out = shutil.copytree(folder, tmp_path / "run")
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"state": "running"}))
    lines = (out / "responses.jsonl").read_bytes().splitlines(keepends=True)
    (out / "responses.jsonl").write_bytes(b"".join(lines[:-3]))
    again = measure(str(guarded), data=str(data), out=out, max_new_tokens=4, guard="own")
    assert (out / "responses.jsonl").read_bytes().startswith(b"".join(lines[:-3]))
    assert [response.text for response in again.responses] == [response.text for response in found.responses]
    assert all(response.verdict.images and response.verdict.request for response in again.responses)


def test_answers_are_those_of_a_run_without_the_guard(
    measured: tuple[Run, Path], guarded: Path, data: Path, tmp_path: Path
) -> None:
    without = measure(str(guarded), data=str(data), out=tmp_path, max_new_tokens=4)
    assert [response.text for response in without.responses] == [response.text for response in measured[0].responses]
    assert not any(response.verdict.images or response.verdict.request for response in without.responses)


def test_provenance_tells_the_guard(measured: tuple[Run, Path], guarded: Path) -> None:
    guard = measured[0].provenance["model"]["guard"]
    assert guard["source"] == str(guarded / "guard")
    assert len(guard["weights_sha256"]) == 64
    assert guard["calibration"]["threshold"] == 0.5
    assert guard["config"]["joint_head"] is True


def test_the_figures_of_the_guard_lie_beside_the_log(measured: tuple[Run, Path]) -> None:
    found = guard_findings(measured[0])
    assert found is not None
    assert measured[0].provenance["guard_findings"] == json.loads(json.dumps(found.to_json()))
    assert found.images is not None and found.images.images == 10


def test_the_command_prints_them(guarded: Path, measured: tuple[Run, Path], data: Path) -> None:
    command = ["bench", str(guarded), "--guard", "own", "--data", str(data), "--max-new-tokens", "4", "--json"]
    result = CliRunner().invoke(app, [*command, "--out", str(measured[1])])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["guard"] == measured[0].provenance["guard_findings"]


def test_another_guard_in_the_same_folder_is_refused(measured: tuple[Run, Path], guarded: Path, data: Path) -> None:
    with pytest.raises(RunError, match="guard is 'own' there, None now"):
        measure(str(guarded), data=str(data), out=measured[1], max_new_tokens=4)


def test_a_guard_changed_under_its_name_does_not_go_on(
    measured: tuple[Run, Path], guarded: Path, data: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(measured[1], tmp_path / "run")
    record = json.loads((out / "run.json").read_text())
    record["model"]["guard"]["calibration"]["threshold"] = 0.9
    (out / "run.json").write_text(json.dumps(record | {"state": "running"}))
    with pytest.raises(RunError, match=r"was changed.*guard"):
        measure(str(guarded), data=str(data), out=out, max_new_tokens=4, guard="own")


def test_a_model_that_is_not_local_has_no_guard(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="local models only"):
        measure("mockllm/model", data=str(data), out=tmp_path, guard="own")


def test_a_checkpoint_without_a_guard_is_refused(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no guard comes with"):
        measure(str(checkpoint), data=str(data), out=tmp_path, guard="own")


def test_inspect_runs_a_guarded_model(guarded: Path, data: Path, tmp_path: Path) -> None:
    (log,) = inspect_ai.eval(
        "holisafe/holisafe_bench",
        model=f"holisafe/{guarded}",
        model_args={"guard": "own"},
        task_args={"data": str(data), "limit": 5, "max_new_tokens": 2},
        log_dir=str(tmp_path),
        display="none",
        log_realtime=False,
    )
    assert log.status == "success", log.error
    assert all(response.verdict.images for response in read_run(log.location).responses)


@pytest.mark.parametrize(
    "damage",
    [
        {"verdict": {"images": [], "request": {"combination": "SSS"}}},
        {"verdict": {"images": [], "request": ["SSS"]}},
        {"verdict": {"images": [{"label": "nonsense"}], "request": None}},
        {"verdict": {"images": [None], "request": None}},
        {"verdict": None},
    ],
)
def test_a_damaged_verdict_is_an_error(damage: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="not as this version writes it"):
        response_from_json(response_to_json(Response("1", "yes", "m")) | damage)


def test_a_complete_run_is_read_back_when_its_guard_is_gone(guarded: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(guarded / "guard", tmp_path / "guard")
    given: dict[str, Any] = {"data": str(data), "out": tmp_path / "run", "max_new_tokens": 2, "limit": 5}
    first = measure(str(guarded), guard=str(tmp_path / "guard"), **given)
    shutil.rmtree(tmp_path / "guard")
    assert measure(str(guarded), guard=str(tmp_path / "guard"), **given) == first
