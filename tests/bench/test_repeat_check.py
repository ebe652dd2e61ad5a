"""Answers that change with batch size, dtype or image reuse are counted, with an interval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe.bench import repeat_check
from holisafe.bench._repeat_check import _compared
from holisafe.errors import RunError
from holisafe.records import Outcome
from report_runs import make_run


def test_a_model_is_asked_in_four_ways_and_changes_are_written(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    found = repeat_check(
        str(checkpoint),
        data=str(data),
        out=tmp_path,
        limit=10,
        max_new_tokens=6,
        progress=lambda at, total: done.append((at, total)),
    )
    assert [each.differs for each in found.comparisons] == ["batch_size", "dtype", "image_reuse"]
    assert found.samples == 10 and done[-1] == (40, 40)
    for each in found.comparisons:
        assert set(each.outcomes) == {"holisafe"}
        assert each.texts.share.n == 10 and each.texts.share.value == each.texts.count / 10
        assert each.outcomes["holisafe"].count <= each.texts.count
    batch, dtype, reuse = found.comparisons
    assert batch.texts.count == reuse.texts.count == 0  # on this machine, in float32
    assert dtype.texts.count > 0  # random weights: bfloat16 does change what they say
    assert json.loads((tmp_path / "repeat-check.json").read_text()) == found.to_json()
    settings = {place.parent.name: json.loads(place.read_text())["settings"] for place in tmp_path.glob("*/run.json")}
    assert {name: (each["batch_size"], each["dtype"], each["image_reuse"]) for name, each in settings.items()} == {
        "alone": (1, "float32", False),
        "batch-8": (8, "float32", False),
        "bfloat16": (1, "bfloat16", False),
        "image-reuse": (8, "float32", True),
    }


def test_changed_answers_and_changed_outcomes_are_counted_apart() -> None:
    one = make_run("a")
    responses = [replace(one.responses[0], text="other"), replace(one.responses[1], text="other"), *one.responses[2:]]
    judged = list(one.judgements["holisafe"])
    flipped = Outcome.REFUSED if judged[0].outcome is Outcome.ANSWERED else Outcome.ANSWERED
    judged[0] = replace(judged[0], outcome=flipped)
    other = replace(one, responses=tuple(responses), judgements={**one.judgements, "holisafe": tuple(judged)})
    found = _compared("dtype", "float32 and bfloat16", one, other)
    assert found.texts.ids == (one.samples[0].id, one.samples[1].id)
    assert found.outcomes["holisafe"].ids == (one.samples[0].id,)
    assert 0 < found.texts.share.low < found.texts.share.value < found.texts.share.high


def test_a_hosted_or_sampled_model_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="--epochs 2"):
        repeat_check("mockllm/model", out=tmp_path)
    with pytest.raises(RunError, match="leave the temperature out"):
        repeat_check("pocket", out=tmp_path, temperature=0.5)
