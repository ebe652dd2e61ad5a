"""`bench --suite safety` over a small release of every benchmark, in each one's own format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import more_releases, small_releases
from holisafe import benchmarks
from holisafe.cli import app

WITHOUT_DATA = {"holisafe-open", "over-refusal"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every benchmark, in a folder of its name."""
    folder = tmp_path_factory.mktemp("root")
    for name in benchmarks.names():
        write = f"write_{name.replace('-', '_')}"
        for releases in (small_releases, more_releases):
            if write in vars(releases):
                vars(releases)[write](folder / name)
    rows = more_releases.harmeval_rows()
    more_releases.write_csv(folder / "safeinfer-harmeval" / "HarmEval.csv", rows)
    assert {path.name for path in folder.iterdir()} == {*benchmarks.names()} - WITHOUT_DATA
    return folder


def test_one_command_measures_every_benchmark_and_names_its_judge(root: Path, tmp_path: Path) -> None:
    words = [
        "bench",
        "mockllm/model",
        "--suite",
        "safety",
        "--root",
        str(root),
        "--out",
        str(tmp_path),
        "--limit",
        "30",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    rows = {row["benchmark"]: row for row in json.loads((tmp_path / "suite.json").read_text())}
    assert rows.keys() == {each for each in benchmarks.names() if "safety" in benchmarks.get(each).suites}
    assert rows.keys() >= {"mssbench", "mmsafeaware", "mis", "holisafe-bench", *WITHOUT_DATA}
    for name, row in rows.items():
        asked = benchmarks.get(name)
        assert (row["state"], row["judge"]) == ("complete", asked.judge), (name, row["reason"])
        assert row["samples"] and not row["errors"]
        assert any(figure["figure"] for figure in row["figures"]) and row["headline"]
        assert row["protocol"] == asked.protocol and row["judge"] in done.stdout
        assert f"judge {asked.judge}" in asked.protocol or asked.protocol.startswith("Original and here")
    assert "holisafe benchmarks NAME" in done.stdout


def test_what_is_missing_is_named_with_how_to_get_it(root: Path, tmp_path: Path) -> None:
    words = ["bench", "mockllm/model", "--suite", "safety", "--root", str(tmp_path), "--out", str(tmp_path / "suite")]
    planned = CliRunner().invoke(app, [*words, "--plan"])
    assert planned.exit_code == 0, planned.output
    for name in (path.name for path in root.iterdir()):
        (line,) = [line for line in planned.stdout.splitlines() if line.startswith(f"{name}: missing")]
        assert benchmarks.get(name).how_to_get.split()[0] in line
