"""`holisafe calibrate` on a checkpoint with its own guard, and on a tuned model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from guard.prompts import guard, tiny
from holisafe import datasets
from holisafe.calibration.held_out import HeldOut, check_held_out, choose_data
from holisafe.cli import app
from holisafe.datasets.export import export_holisafe, export_parquet
from holisafe.errors import GuardError
from holisafe.guard import Calibration, calibration_of, guarded_generate, save_guard
from holisafe.images import content_hash
from holisafe.models import LoadedModel, Prompt, load, registry
from holisafe.models.engine.prefill import plain_inputs
from holisafe.models.prompts import prepare
from holisafe.records import ImageRef
from holisafe.taxonomy import HEAD_ORDER
from holisafe.tuning import merge_tuned, tune
from tiny_models import save
from tuning.data import picture, sample
from tuning.tiny_run import SETTINGS, safety

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model, and two guards for it: with a joint head, and without."""
    folder = tmp_path_factory.mktemp("place")
    export_parquet(safety(), folder / "data", "train")
    export_parquet(safety(24, first=20), folder / "data", "calibration")
    for name, has_joint_head in (("both", True), ("image", False)):
        made = tiny("llava")
        save(made, folder / "model")
        save_guard(guard(made, joint_head=has_joint_head), folder / name)
    return folder


@pytest.fixture
def model(place: Path, tmp_path: Path) -> Path:
    """The model with a guard of its own that has not been calibrated."""
    shutil.copytree(place / "model", tmp_path / "model")
    shutil.copytree(place / "both", tmp_path / "model" / "guard")
    return tmp_path / "model"


def holisafe(*arguments: object) -> Result:
    usual = ["--flag-rate", "0.3", "--device", "cpu"]
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments), *usual], env={"COLUMNS": "120"})


def kept(folder: Path) -> dict[str, Any]:
    """The calibration in a guard's folder."""
    calibration: dict[str, Any] = json.loads((folder / "guard_config.json").read_text())["calibration"]
    return calibration


def test_the_guard_is_calibrated_in_its_folder_and_judges_by_it(place: Path, model: Path) -> None:
    raw = load(str(model), device="cpu", guard="own")
    weights = (model / "guard" / "guard.safetensors").read_bytes()
    told = holisafe(model, "--data", place / "data")
    assert told.exit_code == 0, told.stderr
    assert "Image head" in told.stdout and "Joint head" in told.stdout and "threshold on P(unsafe)" in told.stdout
    assert f"the calibrated guard is in {model / 'guard'}" in told.stderr
    calibration = Calibration.from_json(kept(model / "guard"))
    assert calibration.flag_rate == 0.3 and (calibration.records, calibration.safe_records) == (24, 12)
    assert calibration.data == datasets.fingerprint(datasets.load(place / "data", "calibration"))
    assert (model / "guard" / "guard.safetensors").read_bytes() == weights
    assert "Calibrated on 24 records" in (model / "guard" / "README.md").read_text()
    page = (model / "guard" / "calibration.md").read_text()
    assert f"| threshold on P(unsafe) | {calibration.threshold:.6f} |" in page
    assert f"24 samples of {place / 'data'}, split calibration" in page and "Left out" not in page
    judged = load(str(model), device="cpu", guard="own")
    assert calibration_of(judged.model) == calibration != Calibration()
    (image,), joint = verdict(judged)
    assert (image.threshold, joint.threshold) == (calibration.threshold, calibration.joint_threshold)
    (before,), joint_before = verdict(raw)
    assert list(image.distribution.values()) == scaled(before.distribution, calibration.temperature)
    assert list(joint.distribution.values()) == scaled(joint_before.distribution, calibration.joint_temperature)


def verdict(loaded: LoadedModel) -> tuple[Any, Any]:
    """Verdicts on one image, and on it with a question."""
    prompt = prepare(loaded.processor, Prompt.ask("what is it?", picture("teal")), keep_prompt=True)
    inputs = plain_inputs(loaded.model, loaded.processor, [prompt])
    (found,) = guarded_generate(loaded.model, inputs, max_new_tokens=1).verdicts
    return found.images, found.request


def scaled(distribution: Any, temperature: float) -> Any:
    logits = torch.tensor(list(distribution.values()), dtype=torch.float64).log()
    return pytest.approx(torch.softmax(logits / temperature, -1).tolist(), abs=1e-6)


def test_json_is_the_documented_object(place: Path, model: Path) -> None:
    told = holisafe(model, "--data", place / "data", "--json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    section = (ROOT / "docs/json.md").read_text(encoding="utf-8").split("## `holisafe calibrate MODEL --json`")[1]
    parts = section.split("\n## ")[0].split("A head:")
    tables = [set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", part, re.M)))) for part in parts]
    assert tables == [set(found), set(found["image"])]
    assert found["image"].keys() == found["joint"].keys()
    assert found["calibration"] == kept(model / "guard")
    assert found["out"] == found["guard"] == str(model / "guard")
    assert found["data"]["samples"] == 24 and found["left_out"] == dict.fromkeys(
        ("broken", "image", "model", "label", "combination"), 0
    )


def test_a_guard_without_a_joint_head_goes_to_a_folder_of_its_own(place: Path, tmp_path: Path) -> None:
    before = kept(place / "image")
    arguments = [place / "model", "--guard", place / "image", "--data", place / "data", "--json"]
    told = holisafe(*arguments, "--out", tmp_path / "new")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["joint"] is None and found["calibration"]["joint_temperature"] == 1
    assert kept(tmp_path / "new") == found["calibration"] != before == kept(place / "image")
    assert load(str(place / "model"), device="cpu", guard=tmp_path / "new").guard == str(tmp_path / "new")
    again = holisafe(*arguments, "--out", tmp_path / "new")
    assert again.exit_code == 2 and "is there already" in again.stderr


def test_what_cannot_be_used_costs_the_exit_code(place: Path, model: Path, tmp_path: Path) -> None:
    whole = picture("green").data
    assert whole is not None
    cut = sample("cut", images=(ImageRef(content_hash(whole), data=whole[:60]),))
    bare = sample("bare", images=(picture("pink"),), image_labels=())
    export_parquet([*safety(24), cut, bare], tmp_path / "data", "calibration")
    told = holisafe(model, "--data", tmp_path / "data")
    assert told.exit_code == 1, told.stderr
    assert "1 samples have an image that cannot be opened, or none; the first, cut: " in told.stderr
    assert "1 samples have no label for each image" in told.stderr
    assert kept(model / "guard")["records"] == 24
    assert "Left out, by reason: 1 image, 1 label." in (model / "guard" / "calibration.md").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--flag-rate", "0.01"], "sets the threshold"),
        (["--flag-rate", "1"], "flag_rate: expected a share in (0, 1)"),
        (["--split", "tset"], "'tset'. Known: calibration, train"),
        (["--guard", "nowhere/at/all"], "no such folder"),
        (["--limit", "1"], "use at least 2"),
        (["--threshold", "1.5"], "threshold: expected a probability in [0, 1], found 1.5"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    place: Path, model: Path, more: list[str], message: str
) -> None:
    arguments = ["calibrate", str(model), "--data", str(place / "data"), "--device", "cpu", *more]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 2 and message in told.stderr
    assert told.stdout == "" and kept(model / "guard") == kept(place / "both")
    assert not (model / "guard" / "calibration.md").exists()


def test_without_data_a_guard_is_calibrated_on_the_held_out_split_of_what_it_was_tuned_on(
    place: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tune(str(place / "model"), str(place / "data"), run, SETTINGS)
    told = holisafe(run, "--json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["data"]["name"], found["data"]["split"]) == (str(place / "data"), "calibration")
    assert f"samples of {place / 'data'} (split calibration)" in told.stderr


def test_data_are_asked_for_where_no_held_out_samples_are_known(place: Path, model: Path, tmp_path: Path) -> None:
    told = holisafe(model)
    assert told.exit_code == 2 and told.stdout == ""
    assert "not known which data" in told.stderr and "--data" in told.stderr
    export_parquet(safety(), tmp_path / "only", "train")
    tune(str(place / "model"), str(tmp_path / "only"), tmp_path / "run", SETTINGS)
    unsplit = holisafe(tmp_path / "run")
    assert unsplit.exit_code == 2 and "--data" in unsplit.stderr, unsplit.stderr
    shutil.move(tmp_path / "only", tmp_path / "elsewhere")
    gone = holisafe(tmp_path / "run")
    assert gone.exit_code == 2 and "which is not there now" in gone.stderr, gone.stderr
    other = holisafe(tmp_path / "run", "--guard", place / "both")
    assert other.exit_code == 2 and "not known which data" in other.stderr


def test_a_file_without_splits_is_used_whole(model: Path, tmp_path: Path) -> None:
    export_holisafe(safety(24), tmp_path / "export")
    (file,) = (tmp_path / "export").glob("*.json")
    told = holisafe(model, "--data", file, "--json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["data"]["split"] is None and found["data"]["samples"] == 24
    asked = holisafe(model, "--data", file, "--split", "calibration")
    assert asked.exit_code == 2 and "has no splits" in asked.stderr


def test_a_threshold_is_set_by_hand_and_what_it_flags_is_reported(place: Path, model: Path) -> None:
    told = holisafe(model, "--data", place / "data", "--threshold", 0.25, "--json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["calibration"]["threshold"] == found["image"]["threshold"] == 0.25
    assert found["image"]["flag_rate"] is None and found["joint"]["flag_rate"] == 0.3
    assert found["image"]["flagged_safe"]["n"] == found["image"]["flagged_unsafe"]["n"] == 12
    card = (model / "guard" / "README.md").read_text()
    assert "| set by hand | " in card and f"| {found['image']['flagged_safe']['value']:.1%} |" in card
    assert [row["flag_rate"] for row in found["image"]["flag_rows"]] == [0.01, 0.02, 0.05, 0.1, 0.2, 0.3]


def test_few_safe_images_are_said(place: Path, model: Path) -> None:
    told = holisafe(model, "--data", place / "data")
    assert "only 12 independent safe images (200 or more are best)" in told.stderr
    assert "only 12 independent safe images" in (model / "guard" / "calibration.md").read_text()


@pytest.mark.parametrize("split", ["train", None])
def test_a_shipped_guard_is_not_calibrated_on_what_it_learned_from(split: str | None) -> None:
    samples = datasets.load("open", split)[:20]
    with pytest.raises(GuardError, match="pocket-safe was tuned on"):
        check_held_out("pocket-safe", "own", HeldOut("mine", None), samples)
    check_held_out("pocket-safe", "own", HeldOut("open", "test"), datasets.load("open", "test")[:20])
    assert choose_data("pocket-safe", "own", None, None) == HeldOut("open", "calibration")


def test_a_guard_of_this_installation_is_not_written_to(
    place: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "shipped_guards", lambda: [model / "guard"])
    told = holisafe(model, "--data", place / "data")
    assert told.exit_code == 2 and "say with --out" in told.stderr
    assert kept(model / "guard") == kept(place / "both")
    assert holisafe(model, "--data", place / "data", "--out", tmp_path / "new").exit_code == 0
    assert kept(model / "guard") == kept(place / "both") != kept(tmp_path / "new")


def test_a_limit_keeps_each_combinations_share(place: Path, model: Path) -> None:
    told = holisafe(model, "--data", place / "data", "--limit", 20, "--json")
    assert told.exit_code == 0, told.stderr
    calibration = json.loads(told.stdout)["calibration"]
    assert (calibration["records"], calibration["safe_records"]) == (20, 10)


def test_a_tuned_model_is_calibrated_but_not_on_what_it_learned_from(place: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tune(str(place / "model"), str(place / "data"), run, SETTINGS)
    told = holisafe(run, "--data", place / "data", "--split", "train")
    assert told.exit_code == 2 and "was tuned on the split train of" in told.stderr
    export_parquet(datasets.load(place / "data", "train"), tmp_path / "renamed", "calibration")
    same = holisafe(run, "--data", tmp_path / "renamed")
    assert (same.exit_code, "was tuned on" in same.stderr) == (2, True), same.stderr
    few = holisafe(run, "--data", tmp_path / "renamed", "--limit", 5)
    assert few.exit_code == 2 and "of the 5 images of" in few.stderr, few.stderr
    merge_tuned(run, tmp_path / "plain")
    plain = holisafe(tmp_path / "plain", "--data", tmp_path / "renamed")
    assert plain.exit_code == 2 and "such as " in plain.stderr, plain.stderr
    assert holisafe(run, "--data", place / "data").exit_code == 0
    assert kept(run / "tuned" / "guard")["records"] == 24
    judged = load(str(run), device="cpu", guard="own")
    assert calibration_of(judged.model).to_json() == kept(run / "tuned" / "guard")
    assert verdict(judged)[0][0].label in HEAD_ORDER
