from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drawn_pictures import draw, rows_of, settings
from holisafe.building import _labels, build, export_review
from holisafe.datasets import load
from holisafe.errors import RunError
from holisafe.taxonomy import GuardLabel

WRONG = ("safe-04.png", "unsafe-07.png")
"""Pictures of which the labels file says the opposite."""


class Guard:
    """Knows each picture by its file name, and cannot read one."""

    batch_size = 4

    def __init__(self, model: str, device: str | None = None) -> None: ...

    def __call__(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [self._row(Path(row["path"]).name) for row in rows]

    @staticmethod
    def _row(name: str) -> dict[str, Any]:
        if name == "safe-18.png":
            return {"error": "cannot be read"}
        sure = {each.value: 0.005 for each in GuardLabel}
        sure["safe" if name.startswith("safe") else "harassment"] = 1 - 0.005 * (len(GuardLabel) - 1)
        return {"distribution": sure, "flagged": name.startswith("unsafe"), "unsafe": 0.5, "threshold": 0.5}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw(tmp_path / "pictures")
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    labels = {name: "safe" if name.startswith("safe") != (name in WRONG) else "harassment" for name in names}
    rows = [f"{name},{label},{'a tree' if label == 'safe' else ''}" for name, label in labels.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,shows", *rows]) + "\n")
    monkeypatch.setattr(_labels, "Scanner", Guard)
    return tmp_path


def test_planted_label_errors_are_listed_with_the_reason_and_kept(place: Path) -> None:
    built = build(settings(place, guard="my-guard", check_labels=True))
    doubted = {row["picture"]: row["doubt"] for row in rows_of(place / "data", "doubts") if "doubt" in row}
    assert set(doubted) == set(WRONG)
    assert doubted["safe-04.png"] == "given harassment, probability 0.005; the guard sees safe, 0.905"
    counts = next(each for each in built.counts if each.step == "doubts")
    assert counts.given == counts.kept == 20
    assert counts.reasons == {"likely label error, kept": 2, "not compared, kept": 1}
    tagged = {sample.images[0].digest for sample in load(place / "data") if "label_doubt" in sample.tags}
    assert len(tagged) == 2


def test_people_look_at_doubted_pictures_first(place: Path) -> None:
    build(settings(place, guard="my-guard", check_labels=True))
    folder = export_review(place / "data").folder
    doubted = {row["digest"] for row in rows_of(place / "data", "doubts") if "doubt" in row}
    order = [Path(t["data"]["picture"]).stem in doubted for t in json.loads((folder / "tasks.json").read_text())]
    assert any(order) and order == sorted(order, reverse=True)


def test_labels_that_are_all_one_are_not_doubted(place: Path) -> None:
    lines = (place / "labels.csv").read_text().splitlines()
    only = [lines[0], *(line for line in lines if ",safe," in line)]
    (place / "labels.csv").write_text("\n".join(only) + "\n")
    built = build(settings(place, guard="my-guard", check_labels=True))
    assert next(each for each in built.counts if each.step == "doubts").reasons == {"not compared, kept": 1}


def test_a_second_run_asks_no_guard(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(settings(place, guard="my-guard", check_labels=True))
    monkeypatch.setattr(_labels, "guard_rows", None)
    with pytest.raises(RunError, match="--guard"):
        settings(place, check_labels=True)
    lines = (place / "data" / "steps" / "probabilities.jsonl").read_text().count("\n")
    build(settings(place, guard="my-guard", check_labels=True))
    assert (place / "data" / "steps" / "probabilities.jsonl").read_text().count("\n") == lines == 20
    assert first.errors == 0
