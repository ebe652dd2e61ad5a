"""`holisafe defence`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tiny_models
from defences.directions import samples
from holisafe.cli import app
from holisafe.datasets.export import export_parquet
from holisafe.defences import DEFENCES, read_fitted, wrap
from holisafe.models import load
from models.engine.pictures import PROMPTS

ROOT = Path(__file__).parents[2]


def run(*words: str | Path) -> Any:
    return CliRunner().invoke(app, ["defence", *map(str, words)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save(tiny_models.llava(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    export_parquet(samples(), folder, "train")
    return folder


def test_the_list_names_every_defence_its_cost_and_source() -> None:
    told = run("list").stdout
    assert max(map(len, told.splitlines())) <= 80
    flat = " ".join(told.split())
    for name in DEFENCES.names():
        kind = DEFENCES.get(name)
        assert name in flat and kind.about in flat and kind.cost in flat and kind.source in flat


def test_the_list_as_json_has_the_settings_and_what_is_fitted() -> None:
    found = {each["name"]: each for each in json.loads(run("list", "--json").stdout)["defences"]}
    assert list(found) == DEFENCES.names()
    assert [name for name, each in found.items() if each["fitted"]] == [
        "mars",
        "refusal-direction",
        "sapt",
        "shiftdc",
        "tsdi",
    ]
    assert found["shiftdc"]["settings"]["alpha"]["default"] == 1.0
    assert all(setting["help"] for each in found.values() for setting in each["settings"].values())
    page = (ROOT / "docs/json.md").read_text("utf-8")
    section = page.split("## `holisafe defence list --json`")[1].split("\n## ")[0]
    assert all(f"`{key}`" in section for each in found.values() for key in each)


def test_a_fitted_folder_works_on_its_model(model: Path, data: Path, tmp_path: Path) -> None:
    told = run("fit", "shiftdc", model, "--data", data, "--out", tmp_path / "it", "--json")
    assert told.exit_code == 0, told.output
    described = json.loads(told.stdout)
    assert (described["defence"], described["samples"], described["data"]["split"]) == ("shiftdc", 14, "train")
    record = read_fitted(tmp_path / "it", "shiftdc")[0]
    assert record["data"] == described["data"]
    section = (ROOT / "docs/json.md").read_text("utf-8").split("## `holisafe defence fit")[1].split("\n## ")[0]
    assert all(f"`{key}`" in section for key in described)
    with wrap(load(str(model), device="cpu"), f"shiftdc:{tmp_path / 'it'},caption_tokens=2") as defended:
        assert len(defended.answer(PROMPTS[:1])) == 1


def test_progress_numbers_and_what_was_fewer_than_published_are_said(model: Path, data: Path, tmp_path: Path) -> None:
    told = run("fit", "mars", model, "--data", data, "--split", "train", "--limit", "12", "--out", tmp_path / "it")
    assert told.exit_code == 0, told.output
    assert "reading neutral pictures: 5" in told.stderr
    assert "6 harmless and 6 harmful texts, fewer than the 160" in told.stderr
    assert "layer: 1" in told.stdout and "direction: [32]" in told.stdout


def test_settings_stand_behind_the_name(model: Path, data: Path, tmp_path: Path) -> None:
    name = "refusal-direction:own_answers=false,max_kl=1000,min_induced=-1000,positions=1"
    told = run("fit", name, model, "--data", data, "--out", tmp_path / "it")
    assert told.exit_code == 0, told.output
    assert "position: -1" in told.stdout


@pytest.mark.parametrize(
    ("name", "extra", "message"),
    [
        ("shiftd", (), "shiftdc"),
        ("ecso", (), "ecso learns nothing"),
        ("shiftdc:alpha=-1", (), "alpha: expected a number at least 0"),
        ("shiftdc:somewhere", (), "--out names the folder to write"),
        ("shiftdc", ("--split", "test"), "train"),
    ],
)
def test_what_cannot_be_fitted_is_said_before_the_model_is_loaded(
    name: str, extra: tuple[str, ...], message: str, data: Path, tmp_path: Path
) -> None:
    told = run("fit", name, "no/such-model", "--data", data, "--out", tmp_path / "it", *extra)
    assert told.exit_code == 2 and message in told.stderr
    assert "no/such-model" not in told.stderr and len(told.stderr.splitlines()) == 1
    assert not (tmp_path / "it").exists()


def test_a_folder_that_holds_something_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    told = run("fit", "shiftdc", "no/such-model", "--data", data, "--out", tmp_path)
    assert told.exit_code == 2 and "is there already" in told.stderr


def test_data_without_a_train_split_name_theirs(tmp_path: Path) -> None:
    export_parquet(samples(), tmp_path / "data", "test")
    told = run("fit", "shiftdc", "no/such-model", "--data", tmp_path / "data", "--out", tmp_path / "it")
    assert told.exit_code == 2 and "has no split train, only test" in told.stderr
