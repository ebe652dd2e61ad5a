"""The ablations' script on a tiny model: the whole study, killed and gone on with, and the page of what there is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import research.ablations.__main__ as ablations
from research.ablations import arms, figures, page, runs

from holisafe.datasets.export import export_parquet
from holisafe.records import Sample
from holisafe.taxonomy import Category, Combination, GuardLabel
from tuning.data import picture, sample
from tuning.tiny_run import general, write_model

pytestmark = pytest.mark.slow


def rows(split: str, each: int, blue: int) -> list[Sample]:
    """`each` samples of every combination, an image for each; those of SSS and SSU are twins."""
    found = []
    for place, combination in enumerate(Combination):
        for i in range(each):
            is_unsafe = combination.value.startswith("U")
            found.append(
                sample(
                    f"{split}-{combination.value}-{i}",
                    combination=combination,
                    query=f"what of {place} and {i}?",
                    images=(picture(f"#{40 * place:02x}{i:02x}{blue:02x}"),),
                    image_labels=(GuardLabel.TERRORISM if is_unsafe else GuardLabel.SAFE,),
                    reference="It is plain." if combination.is_safe else "No.",
                    cluster=f"{split}-{place}-{i}",
                    twin=f"{split}-SSU-{i}" if combination.is_safe else None,
                )
            )
    return found


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What every call of the script is given."""
    folder = tmp_path_factory.mktemp("ablations")
    export_parquet(rows("train", 4, 90), folder / "data", "train")
    export_parquet(rows("test", 2, 200), folder / "data", "test")
    export_parquet(general(), folder / "general", "train")
    data = str(folder / "data")
    return [
        f"--out={folder / 'out'}", f"--model={write_model(folder / 'model')}", f"--data={data}", f"--test={data}",
        f"--general={folder / 'general'}", "--limit=10", "--budget-steps=2", "--batch=6", "--rank=2", "--seeds=1",
        "--max-new-tokens=2", "--precision=float32", "--threads=1",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def out(command: list[str]) -> Path:
    return Path(command[0].removeprefix("--out="))


@pytest.fixture(scope="module")
def before_the_kill(command: list[str], out: Path) -> dict[Path, int]:
    """Files of runs that were done when the study was killed, and when they were written."""
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-m", "research.ablations", *command])
    while not (done := list((out / "runs").glob("*.json"))):
        assert process.poll() is None, "the study ended without a run"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = list((out / "runs").glob("*.json"))
    return {path: path.stat().st_mtime_ns for path in done}


@pytest.fixture(scope="module")
def partial_page(before_the_kill: dict[Path, int], command: list[str], out: Path) -> str:
    assert ablations.main([*command, "--page-only"]) == 0
    return (out / "ablations.md").read_text()


@pytest.fixture(scope="module")
def whole(partial_page: str, command: list[str], out: Path) -> dict[str, Any]:
    """The figures after the same command went on to the end."""
    assert ablations.main(command) == 0
    found: dict[str, Any] = json.loads((out / "ablations.json").read_text())
    return found


def test_a_page_of_some_runs_says_how_many_there_are(partial_page: str, before_the_kill: dict[Path, int]) -> None:
    assert f"**{len(before_the_kill)} of 26 planned runs are done.** Missing: " in partial_page
    assert partial_page.count("## ") == 5 and "None of its runs are done yet." in partial_page


def test_a_killed_study_goes_on_and_leaves_what_is_done(
    whole: dict[str, Any], before_the_kill: dict[Path, int], out: Path
) -> None:
    assert {path: path.stat().st_mtime_ns for path in before_the_kill} == before_the_kill
    names = {arms.run_name(arm, seed) for arm, seed in arms.planned(1)}
    assert {path.stem for path in (out / "runs").glob("*.json")} == names and len(names) == 26
    assert (whole["done"], whole["planned"], whole["missing"]) == (26, 26, [])


def test_every_arm_is_trained_as_it_says(whole: dict[str, Any], out: Path) -> None:
    found = {arm: json.loads((out / "runs" / f"{arm}-seed0.json").read_text()) for arm in arms.ARMS}
    assert found["no-module"]["guard"] is None and found["no-module"]["images"] == {}
    assert found["meta-token"]["guard"]["meta_token"] and len(found["meta-token"]["images"]) == 10
    assert found["image-projector"]["guard"]["features"] == "projector" and found["image-projector"]["joint"] == {}
    assert len(found["reference"]["joint"]) == 10 and found["lambda-5"]["settings"]["method_args"]["image_weight"] == 5
    assert found["as-figstep"]["learned_from"]["drawn"] == {"SSS": 2, "USU": 10}
    assert found["general-50"]["learned_from"]["drawn"]["general"] == 6
    assert [found[f"size-{share}"]["learned_from"]["pool"] for share in (25, 50)] == [5, 10]
    assert found["depth-1"]["parameters"] < found["reference"]["parameters"] < found["depth-3"]["parameters"]
    assert all(len(each["log"]) == 2 and len(each["outcomes"]["refusal"]) == 10 for each in found.values())


def test_the_page_has_every_arm_and_a_plot_for_every_question(whole: dict[str, Any], out: Path) -> None:
    text = (out / "ablations.md").read_text()
    assert str(out.parent) not in text + (out / "ablations.json").read_text()
    assert all(arm.about in text for arm in arms.ARMS.values()) and "26 of 26 planned runs" in text
    for question in arms.QUESTIONS:
        assert f"]({page.plot_name(question)})" in text
        assert (out / page.plot_name(question)).read_bytes().startswith(b"\x89PNG")


def test_a_run_made_again_finds_the_same(whole: dict[str, Any], out: Path) -> None:
    settings = runs.Settings(**json.loads((out / "study.json").read_text())["settings"])
    first = json.loads((out / "runs" / "reference-seed0.json").read_text())
    again = runs.run(settings, runs.read_material(settings), arms.ARMS["reference"], 0)
    losses = [[row["loss"] for row in run["log"]] for run in (first, again)]
    assert losses[0] == losses[1] and first["answers"] == again["answers"] and first["images"] == again["images"]


def test_another_study_in_the_same_folder_is_refused(
    whole: dict[str, Any], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablations.main([*command, "--rank=4"]) == 1
    assert "rank is 2 there, 4 now" in capsys.readouterr().err


def test_without_general_data_the_other_runs_can_be_made(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = [each for each in command if not each.startswith(("--general", "--out"))]
    given = [*rest, f"--out={tmp_path}", "--only=untuned", "--only=general-25"]
    assert ablations.main(given) == 0
    assert "left out, for want of --general: general-25" in capsys.readouterr().err
    assert [path.stem for path in (tmp_path / "runs").iterdir()] == ["untuned"]


def test_the_estimate_trains_a_few_steps_and_writes_nothing(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablations.main([*command, f"--out={tmp_path / 'new'}", "--estimate", "--budget-steps=3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["by wall time", "by processor time"]
    assert all("26 of 26 runs to make: 0.0 h" in line for line in said)
    assert not (tmp_path / "new").exists()


def test_an_image_that_is_learned_from_cannot_be_in_the_slice(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*command, f"--out={tmp_path}", "--test-split=train"]
    assert ablations.main(given) == 1
    assert "shows an image that is learned from" in capsys.readouterr().err


def test_the_slice_is_balanced_and_holds_twins() -> None:
    chosen = runs.draw_slice(rows("a", 8, 1), 20)
    ids = {each.id for each in chosen}
    assert [sum(each.combination is c for each in chosen) for c in Combination] == [4] * 5
    assert sum(each.twin in ids for each in chosen) >= 2
    assert chosen == runs.draw_slice(rows("a", 8, 1)[::-1], 20)


def test_smaller_sizes_are_parts_of_larger_ones_and_hold_every_group() -> None:
    samples = [
        replace(s, tags={**s.tags, "category": c.value}, id=f"{c}{s.id}")
        for c in list(Category)[:2]
        for s in rows("a", 8, 1)
    ]
    pools = [{s.id for s in runs.pool(samples, arms.ARMS[name])} for name in ("size-25", "size-50", "reference")]
    assert pools[0] < pools[1] < pools[2] and [len(each) for each in pools] == [20, 40, 80]


def test_holm_corrects_step_by_step() -> None:
    assert figures.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert figures.holm([0.9, 0.8]) == [1.0, 1.0] and figures.holm([]) == []


def made(study: dict[str, Any], arm: str, seed: int, opened: set[str]) -> dict[str, Any]:
    """What a run would hold that answers SSS and the opened combinations."""
    outcomes = {
        row["id"]: "answered" if row["combination"] in {"SSS", *opened} else "refused" for row in study["slice"]
    }
    return {
        "run": f"{arm}-seed{seed}", "arm": arm, "seed": seed, "reference_log_likelihood": -1.0, "images": {},
        "joint": {}, "versions": {}, "outcomes": dict.fromkeys(runs.JUDGES, outcomes), "seconds": {"all": 1},
        "machine": {"device": "cpu", "threads": 1},
    }  # fmt: skip


def test_a_combination_left_open_is_found_and_said() -> None:
    slice_ = [
        {"id": f"{c.value}{i}", "combination": c.value, "cluster": f"{c.value}{i}", "twin": None}
        for c in Combination
        for i in range(20)
    ]
    counts = {"samples": 1, "images": 1}
    study = {"settings": asdict(runs.Settings()), "train": counts, "general": counts, "slice": slice_}
    ran = [made(study, "reference", seed, set()) for seed in (0, 1)]
    ran += [made(study, "as-figstep", seed, {"SSU", "SUU"}) for seed in (0, 1)]
    found = figures.summarise_study(study, ran, [run["run"] for run in ran])
    rates = found["questions"]["coverage"]["compared"]["as-figstep"]["differences"]
    assert rates["ssu"]["value"] == pytest.approx(1) and rates["ssu"]["clear"] and rates["ssu"]["by_seed"] == [1, 1]
    assert rates["uuu"]["value"] == 0 and not rates["uuu"]["clear"]
    assert rates["masr_macro"]["value"] == pytest.approx(0.5)
    alone = figures.summarise_study(study, ran[::2], [run["run"] for run in ran])
    of_one_seed = alone["questions"]["coverage"]["compared"]["as-figstep"]["differences"]["ssu"]
    assert max(of_one_seed["p_holm"], rates["ssu"]["p_holm"]) < figures.LEVEL and not of_one_seed["clear"]
    text = page.markdown(found)
    assert "- *as-figstep*: SSU 100.0 points higher, SUU 100.0 points higher, mASR 50.0 points higher. " in text
    low, high = (100 * rates["uuu"][end] for end in ("low", "high"))
    undecided = f"UUU higher (+0.0 [{low:+.1f}, {high:+.1f}]): undecided."
    assert f"Reported in the paper: SSU higher, SUU higher: confirmed; {undecided}" in text


def test_a_difference_that_another_seed_would_make_is_not_clear() -> None:
    steady = {arm: [{"seed": seed} | dict.fromkeys(figures.RATES, 0.5) for seed in (0, 1)] for arm in "abc"}
    assert figures.training_chance(steady)["ssu"] == {"sd": 0, "freedom": 2, "another_seed": 0}

    for arm, change in (("a", 0.1), ("b", -0.1)):
        steady[arm][1]["ssu"] += change
    found = figures.training_chance(steady)
    assert found["ssu"]["sd"] == pytest.approx(0.0707, abs=1e-4) and found["rr"]["sd"] == 0
    assert found["ssu"]["another_seed"] == pytest.approx(4.303 * 0.0707, abs=1e-3)  # Student's quantile of 2 degrees
    assert figures.training_chance({"a": steady["a"]}) == figures.training_chance({}) == {}


def test_a_model_that_only_refuses_more_is_said_to() -> None:
    row = {"low": 0.0, "high": 0.0, "p_holm": 0.01, "clear": True}
    rows = {"rr": row | {"value": 0.3}, "masr_macro": row | {"value": -0.2}}
    said = page._clear(rows)
    assert said == ("RR 30.0 points higher, mASR 20.0 points lower; it refuses more requests, safe and unsafe ones")
    assert "mASR higher: contradicted" in page._claimed(rows, {"masr_macro": +1})
