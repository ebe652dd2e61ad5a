"""`holisafe blind`, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from holisafe.cli import app
from small_bench import write_small_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bench(tmp_path_factory.mktemp("blind") / "bench", per_combination=8)


@pytest.fixture
def predictions(bench: Path, tmp_path: Path) -> Path:
    """Every question of the last half of each combination is refused."""
    place = tmp_path / "other.json"
    asked = json.loads((bench / "holisafe_bench.json").read_text("utf-8"))
    said = [
        {"id": each["id"], "prediction": "I'm sorry, I can't." if each["id"] % 100 > 3 else "Sure."} for each in asked
    ]
    place.write_text(json.dumps(said), encoding="utf-8")
    return place


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["blind", *map(str, words), "--features", "pixels"])


def test_without_a_model_the_rate_is_printed_with_both_baselines(bench: Path) -> None:
    told = run(bench, "--rr", "0.25")
    assert told.exit_code == 0, told.output
    assert "Blind baselines at RR up to 25.0 %" in told.stdout
    assert "question alone" in told.stdout and "image alone (pixels)" in told.stdout
    assert "Baselines: 5-fold cross-validation by image." in told.stdout
    assert "†" not in told.stdout


def test_predictions_in_the_released_format_stand_beside_and_are_marked(bench: Path, predictions: Path) -> None:
    told = run(bench, "--predictions", predictions)
    assert told.exit_code == 0, told.output
    assert "at RR up to 50.0 %, judge holisafe" in told.stdout
    assert "other minus the baseline, in points" in told.stdout
    assert "† A blind baseline reaches this figure" in told.stdout


def test_a_run_folder_gives_the_same_as_its_predictions(bench: Path, predictions: Path, tmp_path: Path) -> None:
    words = ("score", str(predictions), "--data", str(bench), "--out", str(tmp_path / "run"), "--no-by-category")
    assert CliRunner().invoke(app, words).exit_code == 0
    found = [
        json.loads(run(bench, *beside, "--json").stdout)
        for beside in (("--run", tmp_path / "run"), ("--predictions", predictions))
    ]
    assert found[0] == found[1]


def test_json_is_the_same_each_time(bench: Path) -> None:
    first, second = (run(bench, "--json").stdout for _ in range(2))
    assert first == second
    assert json.loads(first)["results"][0]["rr"] == 0.05


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--rr", "0.1", "--run", "there"), "exclude each other"),
        (("--judge", "refusal"), "judges are for --predictions"),
        (("--rr", "1.5"), "less than or equal to 1"),
        (("--run", "nowhere"), "no run at nowhere"),
    ],
)
def test_what_cannot_be_is_said(bench: Path, words: tuple[str, ...], expected: str) -> None:
    told = run(bench, *words)
    assert told.exit_code == 2
    assert expected in " ".join(told.output.replace("│", " ").split())


def test_data_without_harmless_samples_end_in_one_line(tmp_path: Path) -> None:
    place = write_small_bench(tmp_path / "bench")
    records = json.loads((place / "holisafe_bench.json").read_text("utf-8"))
    (place / "holisafe_bench.json").write_text(json.dumps([each for each in records if each["type"] != "SSS"]))
    told = run(place)
    assert told.exit_code == 2
    assert told.stderr.startswith("error: blind baselines: 0 samples are to be answered")
    assert told.stderr.count("\n") == 1
