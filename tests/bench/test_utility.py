"""Accuracies of MMMU, MMStar, VizWiz and MME-RealWorld out of the files that lmms-eval and Inspect write."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import inspect_ai
import pytest
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as InspectSample
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import Generate, Solver, TaskState, solver

from holisafe.bench import read_utility
from holisafe.errors import RunError
from holisafe.report import write_table
from report_runs import make_run


def write_results(folder: Path, **tasks: dict[str, Any]) -> Path:
    """A file of results as lmms-eval 0.7.3 writes it, with 200 samples of each task."""
    record = {
        "results": {
            name: {"alias": name, **{f"{key},none": value for key, value in values.items()}}
            for name, values in tasks.items()
        },
        "n-samples": {name: {"original": 900, "effective": 200} for name in tasks},
    }
    path = folder / "20260101_101010_results.json"
    path.write_text(json.dumps(record), "utf-8")
    return path


def test_the_accuracy_of_each_task_is_read_with_its_interval(tmp_path: Path) -> None:
    path = write_results(
        tmp_path,
        mmmu_val={"mmmu_acc": 0.31, "mmmu_acc_stderr": "N/A", "submission": None},
        mmstar={"coarse perception": 0.5, "math": 0.2, "average": 0.335},
        vizwiz_vqa_val={"exact_match": 0.555, "exact_match_stderr": 0.01},
        mme_realworld_lite={"mme_realworld_score": 0.4},
        other_task={"accuracy": 1.0},
        mmmu_pro={"mmmu_acc": 0.1, "exact_match": 0.2},
    )
    found = {result.name: result for result in read_utility(path)}
    values = {name: result.figure.value for name, result in found.items()}
    assert values == {
        "MMMU": 0.31,
        "MMStar": 0.335,
        "VizWiz": 0.555,
        "MME-RealWorld": 0.4,
        "other_task": 1.0,
        "mmmu_pro": 0.2,
    }
    figure = found["MMMU"].figure
    assert (
        figure.n == 200 and figure.low == pytest.approx(0.25, abs=0.02) and figure.high == pytest.approx(0.38, abs=0.02)
    )
    assert found["MMStar"].metric == "average" and found["VizWiz"].task == "vizwiz_vqa_val"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ({"mme": {"mme_perception_score": 1400.0}}, r"no task with an accuracy; found mme \(mme_perception_score\)"),
        ({"mmmu_val": {"mmmu_acc": 31.0}}, r"mmmu_acc of mmmu_val is 31.0 of 200 samples; expected a share"),
        ({"mmmu_val": {"mmmu_acc": None}}, r"is None of 200 samples"),
        ({}, "found no task"),
    ],
)
def test_what_is_no_accuracy_is_refused(tasks: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=said):
        read_utility(write_results(tmp_path, **tasks))


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    for name, text in (("a.json", "[]"), ("b.json", "{"), ("c.eval", "no log")):
        (tmp_path / name).write_text(text)
        with pytest.raises(RunError, match=name):
            read_utility(tmp_path / name)


def test_the_accuracy_of_an_inspect_log_is_read(tmp_path: Path) -> None:
    @solver
    def answer() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            state.output = ModelOutput.from_content("mock", "A" if state.sample_id in (1, 2, 3) else "B")
            return state

        return solve

    task = inspect_ai.Task(
        dataset=MemoryDataset([InspectSample(input="?", target="A", id=at) for at in range(1, 5)]),
        solver=answer(),
        scorer=includes(),
        name="mmmu_multiple_choice",
    )
    (log,) = inspect_ai.eval(
        task, model=get_model("mockllm/model"), log_dir=str(tmp_path), display="none", log_realtime=False
    )
    (result,) = read_utility(log.location)
    assert (result.name, result.figure.value, result.figure.n) == ("MMMU", 0.75, 4)


def test_accuracies_stand_beside_safety_in_every_table(tmp_path: Path) -> None:
    runs = [make_run("base"), make_run("tuned")]
    path = write_results(tmp_path, mmstar={"average": 0.335})
    utility = {"tuned": {result.name: result.figure for result in read_utility(path)}}
    for form in ("md", "tex", "json"):
        text = write_table(runs, tmp_path / f"a.{form}", utility=utility).read_text("utf-8")
        assert "MMStar" in text
    (base, tuned) = json.loads((tmp_path / "a.json").read_text())["tables"][0]["rows"]
    assert base["figures"]["MMStar"] is None and tuned["figures"]["MMStar"]["value"] == 0.335
    row = next(line for line in (tmp_path / "a.md").read_text().splitlines() if line.startswith("| tuned"))
    assert re.search(r"\| 33\.5 \[2\d\.\d, 4\d\.\d\] \|$", row)
