from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drawn_pictures import draw
from holisafe.cli import app
from label_studio import annotation, exported


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw(tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    run("build", "pictures", "--labels", "labels.csv", "--out", "data")
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    told = CliRunner().invoke(app, [*words])
    assert told.exit_code == code, told.output
    return told.output


def test_it_exports_and_imports_with_agreement_and_what_to_adjudicate(place: Path) -> None:
    assert "tasks for label-studio: 51, in data/review" in run("review", "export", "data", "--to", "label-studio")
    tasks = exported(place / "data" / "review", lambda at, data: [annotation(at, 1, "combination", "SSS")])
    for task in tasks[:3]:
        task["annotations"].append(annotation(100 + task["id"], 2, "combination", "SSU"))
    (place / "export.json").write_text(json.dumps(tasks))
    told = run("review", "import", "data", "export.json")
    assert "to adjudicate: 3 tasks, in data/review/adjudicate.json" in told
    assert "left out, missing: 48" in told
    found = json.loads(run("review", "import", "data", "export.json", "--json"))
    assert found["annotators"] == 2 and found["reasons"] == {"adjudicate": 3, "missing": 48}
    assert found["alpha"]["low"] <= found["alpha"]["value"] <= found["alpha"]["high"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "pictures"], "it has no folder steps"),
        (["import", "data", "export.json"], "run holisafe review export first"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(place: Path, words: list[str], said: str) -> None:
    told = run("review", *words, code=2)
    assert said in told
    assert told.count("\n") == 1
