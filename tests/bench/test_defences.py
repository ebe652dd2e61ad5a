"""Runs of a model that answers with a defence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import holisafe.defences
from holisafe.bench import measure, read_run
from holisafe.errors import DefenceError, ModelError, RunError, UnknownNameError
from holisafe.records.as_json import response_from_json, response_to_json


def test_what_each_answer_took_is_recorded_and_resumes(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    options = {"data": data, "split": None, "limit": 5, "max_new_tokens": 4, "out": tmp_path / "run", "defence": "ecso"}
    run = measure(checkpoint, **options)
    assert {response.cost.generations for response in run.responses if response.cost} <= {2, 4}
    assert all(response.cost is not None and response.cost.passes > 2 for response in run.responses)
    assert run.provenance["name"] == f"{checkpoint} + ecso"
    assert run.provenance["cost"]["generations"] >= 2
    assert run.provenance["model"]["defences"][0]["name"] == "ecso"
    assert [response_from_json(response_to_json(each)) for each in run.responses] == list(run.responses)
    again = measure(checkpoint, **options)
    assert again.responses == run.responses == read_run(tmp_path / "run").responses
    with pytest.raises(RunError, match="defence"):
        measure(checkpoint, **{**options, "defence": "prompt"})
    with pytest.raises(RunError, match="defence"):
        measure(checkpoint, **{**options, "defence": None})


def test_a_reminder_that_says_nothing_changes_no_answer(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    options = {"data": data, "split": None, "limit": 5, "max_new_tokens": 4}
    plain = measure(checkpoint, out=tmp_path / "plain", **options)
    defended = measure(checkpoint, out=tmp_path / "same", defence="prompt:before=,after=", **options)
    assert [each.text for each in defended.responses] == [each.text for each in plain.responses]
    assert "cost" not in json.loads((tmp_path / "plain" / "run.json").read_text())


@pytest.mark.parametrize(
    ("model", "defence", "error", "message"),
    [
        ("mockllm/model", "ecso", ModelError, "local models only"),
        ("pocket", "ecsoo", UnknownNameError, "ecso"),
        ("pocket", "ecso:x=1", DefenceError, "unknown field x"),
        ("pocket", "shiftdc", DefenceError, "holisafe defence fit shiftdc"),
        ("pocket", "shiftdc:no/such/folder", DefenceError, "no/such/folder"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    model: str, defence: str, error: type[Exception], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        measure(model, data=data, split=None, limit=5, defence=defence, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_a_defence_cannot_work_on_is_named(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises((DefenceError, RunError), match="no guard"):
        measure(
            checkpoint, data=data, split=None, limit=5, defence="guard:refuse", max_new_tokens=4, out=tmp_path / "run"
        )
    assert "guard" in holisafe.defences.defence_names()
