"""Several models, data sets and epochs: what is complete stays, what is new is done, one failure ends nothing else."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from holisafe.bench import Prices, SharedBudget, check_one_price, measure_parts, read_run, run_parts
from holisafe.bench import _spending as spending
from holisafe.bench._parts import RunPart
from holisafe.errors import BudgetError, RunError
from holisafe.records import Run
from killed_runs import run_command
from small_bench import write_small_bench

MOCK = "mockllm/model"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two data sets of the same twenty records, in folders of different names."""
    root = tmp_path_factory.mktemp("two")
    return [str(write_small_bench(root / name)) for name in ("first", "second")]


def run_all(parts: Sequence[RunPart], out: Path, **options: Any) -> list[str]:
    shared = SharedBudget([out / part.folder for part in parts])

    def one(part: RunPart, folder: Path) -> Run:
        return shared.measure(part.model, folder, {"max_new_tokens": 4, **part.options, **options})

    return [row.state for row in measure_parts(parts, out, one)]


def finished(out: Path) -> dict[str, int]:
    """When each complete run was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/run.json")}


def test_each_model_and_data_set_has_the_folder_that_it_has_alone() -> None:
    parts = run_parts(["pocket", MOCK], ["open", "mis:safety/mis"], epochs=2)
    assert len(parts) == 8
    assert parts[0].folder == "pocket-open" and parts[1].folder == "pocket-open-epoch-2"
    assert parts[-1].folder == "mockllm_model-mis_safety_mis-epoch-2"


@pytest.mark.parametrize(
    ("models", "data", "epochs", "said"),
    [
        ([], ["open"], 1, "at least one"),
        (["a/b", "a/b"], ["open"], 1, "each once"),
        (["a/b", "a_b"], ["open"], 1, "would both lie in a folder a_b-open"),
        (["a/b"], ["open"], 0, "expected at least 1"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(models: list[str], data: list[str], epochs: int, said: str) -> None:
    with pytest.raises(RunError, match=said):
        run_parts(models, data, epochs=epochs)


def test_a_model_a_data_set_or_an_epoch_added_later_does_only_what_is_new(two: list[str], tmp_path: Path) -> None:
    run_all(run_parts([MOCK], two[:1]), tmp_path)
    before = finished(tmp_path)
    assert run_all(run_parts([MOCK, "mockllm/other"], two, epochs=2), tmp_path) == ["complete"] * 8
    after = finished(tmp_path)
    assert len(before) == 1 and len(after) == 8
    assert before.items() <= after.items()
    again = run_all(run_parts([MOCK, "mockllm/other"], two, epochs=2), tmp_path)
    assert again == ["complete"] * 8 and finished(tmp_path) == after


def test_a_judge_added_later_asks_no_model(two: list[str], tmp_path: Path) -> None:
    parts = run_parts([MOCK], two)
    run_all(parts, tmp_path)
    answers = {path: path.read_bytes() for path in tmp_path.glob("*/responses.jsonl")}
    run_all(parts, tmp_path, judges=("holisafe", "refusal"))
    assert {path: path.read_bytes() for path in answers} == answers
    assert all(list(read_run(tmp_path / part.folder).judgements) == ["holisafe", "refusal"] for part in parts)


def test_one_part_that_fails_is_named_and_the_others_run(two: list[str], tmp_path: Path) -> None:
    parts = run_parts([MOCK], [two[0], str(tmp_path / "nothing"), two[1]])
    assert run_all(parts, tmp_path / "out") == ["complete", "failed", "complete"]
    rows = json.loads((tmp_path / "out" / "runs.json").read_text())
    assert [row["state"] for row in rows] == ["complete", "failed", "complete"]
    assert "nothing" in rows[1]["reason"] and rows[0]["samples"] == 20


def test_the_folder_of_one_run_does_not_become_that_of_several(two: list[str], tmp_path: Path) -> None:
    parts = run_parts([MOCK], two)
    run_all(parts, tmp_path)
    with pytest.raises(RunError, match="is the folder of one run"):
        run_all(parts, tmp_path / parts[0].folder)


def test_one_price_does_not_stand_for_two_hosted_models() -> None:
    prices = Prices(1, 2)
    check_one_price(["pocket", MOCK], prices, 1.0)
    check_one_price(["openai/gpt-4o", MOCK], None, None)
    with pytest.raises(RunError, match=r"one price cannot stand for 2 hosted models"):
        check_one_price(["openai/gpt-4o", MOCK], prices, None)


def test_a_budget_is_that_of_all_parts_together(two: list[str], tmp_path: Path) -> None:
    parts = run_parts([MOCK], two)
    prices = Prices(1000, 1000)

    def states(budget: float) -> list[str]:
        shared = SharedBudget([tmp_path / part.folder for part in parts], budget, prices)
        options = {"max_new_tokens": 4}

        def one(part: RunPart, folder: Path) -> Run:
            return shared.measure(part.model, folder, {**options, **part.options})

        return [row.state for row in measure_parts(parts, tmp_path, one)]

    assert states(1000.0) == ["complete", "complete"]
    spent = [spending.recorded_calls(tmp_path / part.folder / "spending.jsonl") for part in parts]
    whole = sum(spending.money_of(spending.totals_of(each), prices) or 0 for each in spent)
    for each in (path for part in parts for path in (tmp_path / part.folder).glob("*.json*")):
        each.unlink()
    assert states(0.6 * whole) == ["complete", "stopped"]
    calls = [spending.recorded_calls(tmp_path / part.folder / "spending.jsonl") for part in parts]
    spent_now = sum(spending.money_of(spending.totals_of(each), prices) or 0 for each in calls)
    assert 0.6 * whole <= spent_now < whole  # what was in flight is recorded, too
    assert states(0.4 * whole) == ["complete", "stopped"]  # less than was spent: what is complete is read back
    assert states(1.1 * whole) == ["complete", "complete"]


def test_with_nothing_left_of_the_budget_no_call_is_made(two: list[str], tmp_path: Path) -> None:
    shared = SharedBudget([tmp_path / "one", tmp_path / "other"], 1e-9, Prices(1000, 1000))
    (tmp_path / "other").mkdir()
    line = {"number": 0, "role": "model", "name": MOCK, "sample_id": "a", "input": 9, "output": 9, "seconds": 0.1}
    (tmp_path / "other" / "spending.jsonl").write_text(json.dumps({**line, "estimated": False}) + "\n")
    with pytest.raises(BudgetError, match="a larger --budget resumes"):
        shared.measure(MOCK, tmp_path / "one", {"data": two[0], "max_new_tokens": 4})
    assert not (tmp_path / "one").exists()


def test_a_further_epoch_of_greedy_decoding_is_refused_on_a_local_model(
    checkpoint: Path, two: list[str], tmp_path: Path
) -> None:
    parts = run_parts([str(checkpoint)], two[:1], epochs=2)
    assert run_all(parts, tmp_path, limit=5) == ["complete", "failed"]
    rows = json.loads((tmp_path / "runs.json").read_text())
    assert "--temperature" in rows[1]["reason"]
    assert run_all(parts, tmp_path / "sampled", limit=5, temperature=1.5, max_new_tokens=12) == ["complete"] * 2
    texts = [[r.text for r in read_run(tmp_path / "sampled" / part.folder).responses] for part in parts]
    assert texts[0] != texts[1]


def journalled(out: Path) -> int:
    """Lines of all journals, which are what a killed command leaves."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/*s.jsonl"))


def killed_at(moments: Sequence[tuple[int, float]], command: list[str], out: Path) -> int:
    """Start the command anew for each moment (lines journalled, seconds more), kill it there; how often it was hit."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["killed_runs"])
    hits = 0
    for count, delay in moments:
        process = processes.Process(target=run_command, args=(command, str(out.parent)))
        process.start()
        while process.is_alive() and journalled(out) < count:
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
        process.join()
        hits += process.exitcode == -signal.SIGKILL
    return hits


@pytest.mark.parametrize("kills", [pytest.param(3, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.bulk)])
def test_killed_at_random_moments_the_result_is_the_same(
    kills: int, checkpoint: Path, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # for the process that is forked
    models = [str(checkpoint), MOCK]
    options = {"max_new_tokens": 12, "batch_size": 2}
    parts = run_parts(models, two)
    assert run_all(parts, tmp_path / "unbroken", **options) == ["complete"] * 4

    out = tmp_path / "broken"
    out.mkdir()
    draw = random.Random(kills)
    lines = journalled(tmp_path / "unbroken")
    moments = sorted((draw.randrange(lines), 0.2 * draw.random()) for _ in range(kills))
    command = ["bench", *models, "--data", two[0], "--data", two[1], "--out", str(out)]
    command += ["--max-new-tokens", "12", "--batch-size", "2"]
    assert killed_at(moments, command, out) >= kills // 2

    assert run_all(parts, out, **options) == ["complete"] * 4
    for part in parts:
        found, whole = read_run(out / part.folder), read_run(tmp_path / "unbroken" / part.folder)
        assert (found.responses, found.judgements) == (whole.responses, whole.judgements)
        assert found.provenance["summaries"] == whole.provenance["summaries"]
    answers = [path.read_bytes().count(b"\n") for path in out.glob("*/responses.jsonl")]
    assert answers == [20] * 4  # nothing was asked twice
