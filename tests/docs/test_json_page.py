"""docs/json.md and docs/data.md name every key that the commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from docs.snippets import ROOT, make_place
from holisafe.cli import app
from holisafe.metrics import HEADLINE

PAGE = (ROOT / "docs/json.md").read_text("utf-8")
BENCH = ("bench", "path/to/checkpoint", "--data", "path/to/bench", "--limit", "5", "--max-new-tokens", "2")
TUNE = ("tune", "path/to/checkpoint", "--data", "path/to/data", "--max-steps", "1", "--batch-size", "4")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("json"))


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def printed(*words: str, codes: tuple[int, ...] = (0,)) -> Any:
    told = CliRunner().invoke(app, [*words, "--json"])
    assert told.exit_code in codes, told.output
    return json.loads(told.stdout)


def table(heading: str, after: str = "") -> set[str]:
    """Names in the first column of the first table below a heading, and below the line `after` there."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    assert after in section
    rows = re.search(r"(^\|.*\n)+", section.split(after)[-1] if after else section, re.MULTILINE)
    assert rows is not None
    cells = [row.split("|")[1] for row in rows[0].splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


FIGURES = table("The figures of one judge") | {figure.name for figure in HEADLINE}


def test_the_figures_table_names_every_headline_figure() -> None:
    assert {figure.name for figure in HEADLINE} <= table("The figures of one judge")


def test_a_judges_figures(place: Path) -> None:
    found = printed("score", "predictions.json", "--judge", "holisafe", "--judge", "refusal")
    asked = table("`holisafe score PREDICTIONS.json --json`")
    assert found.keys() == FIGURES | asked
    assert found["judges"]["refusal"].keys() == FIGURES | {"judge_version", "unjudged", "degenerate"}
    assert found["rr"].keys() == table("A figure")
    rows = [row for rows in found["by"].values() for row in rows]
    assert all(row.keys() <= {"value", "rr", "asr", "ssu", "usu", "uuu", "suu"} for row in rows)


def test_blind() -> None:
    found = printed("blind", "holisafe_bench.json", "--predictions", "predictions.json", "--features", "none")
    heading = "`holisafe blind DATA --json`"
    assert found.keys() == table(heading)
    assert found["results"][0].keys() == table(heading, "A result:")
    assert found["results"][0]["baselines"][0].keys() == table(heading, "A baseline:")


def test_compare(place: Path) -> None:
    for name in ("one", "other"):
        printed("score", "predictions.json", "--judge", "holisafe", "--out", f"runs/compare-{name}")
    (pair,) = printed("compare", "runs/compare-one", "runs/compare-other")["pairs"]
    assert pair.keys() == table("`holisafe compare RUN RUN --json`")
    assert pair["differences"]["rr"].keys() == {"value", "low", "high", "p", "n", "p_holm", "first", "second"}


def test_a_plan() -> None:
    heading = "`holisafe bench MODEL --plan --json`"
    assert printed(*BENCH, "--out", "runs/planned", "--plan").keys() == table(heading)
    scored = printed("score", "predictions.json", "--judge", "holisafe", "--plan")
    assert scored.keys() == table(heading)


def test_bench_prints_what_score_prints_with_model_out_and_guard() -> None:
    found = printed(*BENCH, "--out", "runs/plain")
    asked = table("`holisafe score PREDICTIONS.json --json`") - {"predictions"}
    assert found.keys() == FIGURES | asked | {"model", "out", "guard", "guards"}
    response = json.loads(Path("runs/plain/responses.jsonl").read_text("utf-8").splitlines()[0])
    assert response.keys() == table("A response")


def test_what_a_guard_comes_to() -> None:
    printed(*TUNE, "--gradient-accumulation-steps", "1", "--lora-r", "2", "--out", "runs/safe")
    found = printed(
        "bench", "runs/safe", "--guard", "own", "--data", "path/to/bench", "--limit", "5", "--max-new-tokens", "2"
    )["guard"]
    heading = "A guard on a run"
    assert found.keys() == table(heading)
    for policy in (policy for policies in found["policies"].values() for policy in policies):
        assert table(heading, "A policy:") - {"twin_accuracy", "rr", "ssu"} <= policy.keys()
        assert policy.keys() <= table(heading, "A policy:") | FIGURES
    assert found["images"].keys() == table(heading, "`images`:")


def test_a_verdict_of_guard() -> None:
    told = CliRunner().invoke(app, ["guard", "photos", "--json"])
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert {key for row in rows for key in row} | {"error"} == table("`holisafe guard IMAGE... --json`")


def test_guard_train() -> None:
    found = printed("guard", "train", "--images", "labelled", "--out", "guards/mine", "--max-steps", "2")
    assert found.keys() == table("`holisafe guard train --json`")


def test_calibrate() -> None:
    found = printed(
        "calibrate", "pocket", "--flag-rate", "0.6", "--limit", "20", "--out", "guards/pocket", codes=(0, 1)
    )
    heading = "`holisafe calibrate MODEL --json`"
    assert found.keys() == table(heading)
    assert found["image"].keys() == table(heading, "A head:")
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    for part in ("calibration", "data", "left_out"):
        row = next(row for row in section.splitlines() if row.startswith(f"| `{part}`"))
        assert set(found[part]) <= set(re.findall(r"`(\w+)`", row)), part


def test_the_plan_of_tune() -> None:
    assert printed(*TUNE, "--dry-run").keys() == table("`holisafe tune MODEL --json`", "With `--dry-run`:")


@pytest.mark.parametrize(
    ("words", "row"),
    [
        (("list",), "data list --json"),
        (("show", "path/to/bench"), "data show NAME --json"),
        (("stats", "path/to/bench"), "data stats NAME --json"),
        (("validate", "path/to/bench"), "data validate PATH --json"),
    ],
)
def test_data(words: tuple[str, ...], row: str) -> None:
    found = printed("data", *words)
    page = (ROOT / "docs/data.md").read_text("utf-8")
    cell = next(line for line in page.splitlines() if line.startswith(f"| `{row}`")).split("|")[2]
    shape = cell.split("`")[1]
    assert found.keys() == _top_level(shape)
    if isinstance(found.get("datasets"), list):
        assert all(each.keys() == {"name", "splits", "description"} for each in found["datasets"])


def _top_level(shape: str) -> set[str]:
    """Keys of the outer object in a shape like {a, b: [{c, d}]}."""
    inner = shape.removeprefix("{").removesuffix("}")
    while inner != (inner := re.sub(r"[\[{][^\[\]{}]*[\]}]", "", inner)):
        pass
    return {part.split(":")[0].strip() for part in inner.split(",")}


def test_power() -> None:
    found = printed("power", "--n", "100", "--rate", "0.1")
    assert found.keys() == table("`holisafe power --json`")
    section = PAGE.split("\n## `holisafe power --json`\n")[1].split("\n## ")[0]
    for name in (*found["assumed"], *found["smallest"], *found["rows"][0]):
        assert f"`{name}`" in section


def test_an_edit_and_a_sweep(place: Path) -> None:
    words = ("edit", "merge", "path/to/checkpoint", "--safe", "org/model")
    assert printed(*words, "--out", "edited").keys() == table("`holisafe edit METHOD MODEL --json`")
    small = ("--sweep", "0", "--limit", "5", "--max-new-tokens", "2")
    swept = printed(*words, *small, "--out", "swept")
    section = PAGE.split("With `--sweep`:")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert swept.keys() | swept["points"][0].keys() == named
