from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from drawn_pictures import settings
from holisafe.building import build, export_review, import_review
from holisafe.datasets import load
from holisafe.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    build(settings(tmp_path))
    export_review(tmp_path / "data")
    return tmp_path / "data"


def annotation(who: int, choice: str, reason: str = "", **more: Any) -> dict[str, Any]:
    result = [
        {"from_name": "combination", "to_name": "image", "type": "choices", "value": {"choices": [choice]}},
        {"from_name": "reason", "to_name": "image", "type": "textarea", "value": {"text": [reason]}},
    ]
    return {"completed_by": who, "created_at": "2026-11-28T10:00:00Z", "result": result, **more}


def exported(data: Path) -> list[dict[str, Any]]:
    """An export in which two people see every sample as it was meant."""
    tasks = json.loads((data / "review" / "tasks.json").read_text())
    return [{**t, "annotations": [annotation(who, meant(data, t)["combination"]) for who in (7, 9)]} for t in tasks]


def meant(data: Path, task: dict[str, Any]) -> dict[str, str]:
    return dict(json.loads((data / "review" / "meant.json").read_text())[task["data"]["key"]])


def read_in(data: Path, tasks: list[dict[str, Any]], **given: Any) -> Any:
    path = data.parent / "export.json"
    path.write_text(json.dumps(tasks))
    return import_review(data, path, **given)


def test_the_configuration_blurs_pictures_and_does_not_tell_what_is_meant(data: Path) -> None:
    root = ET.parse(data / "review" / "configuration.xml").getroot()
    style = root.findtext("Style") or ""
    assert root.get("className") == "holisafe" and ".holisafe img { filter: blur(" in style
    shown = {each.get("value") for each in root if (each.get("value") or "").startswith("$")}
    assert shown == {"$image", "$request", "$text"}
    assert all(set(task["data"]) == {"key", "image", "request", "text"} for task in exported(data))
    assert all((data / "review" / t["data"]["image"].partition("?d=")[2]).is_file() for t in exported(data))


def test_two_who_agree_keep_a_sample_with_roles_and_date(data: Path, tmp_path: Path) -> None:
    found = read_in(data, exported(data))
    assert (found.kept, found.alpha, found.annotators) == (found.tasks, 1.0, 2)
    build(settings(tmp_path))
    tags = load(data, "train")[0].tags
    assert tags["review"] == "agreed"
    assert tags["review_roles"] == "annotator-1, annotator-2"
    assert tags["review_dates"] == "2026-11-28"


@pytest.mark.parametrize(
    ("annotations", "kind"),
    [
        ([annotation(7, "SSS")], "missing"),
        ([], "missing"),
        ([annotation(7, "SSS"), annotation(7, "SSU")], "double annotation"),
        ([annotation(7, "SSS"), annotation(9, "SSU")], "adjudicate"),
        ([annotation(7, "unusable"), annotation(9, "unusable")], "review"),
        ([annotation(7, "nonsense"), annotation(9, "SSS")], "unreadable"),
        ([annotation(7, "SSS"), annotation(9, "SSS", was_cancelled=True)], "missing"),
    ],
)
def test_what_is_missing_double_or_unsettled_is_a_row_and_not_kept(
    data: Path, tmp_path: Path, annotations: list[dict[str, Any]], kind: str
) -> None:
    tasks = exported(data)
    name = meant(data, tasks[0])["id"]
    tasks[0]["annotations"] = annotations
    found = read_in(data, tasks)
    assert [row.reason.partition(":")[0] for row in found.rows if not row.is_ok] == [kind]
    build(settings(tmp_path))
    assert name not in {sample.id for sample in load(data)}


def test_an_adjudicator_settles_and_the_reason_is_kept(data: Path, tmp_path: Path) -> None:
    tasks = exported(data)
    name, right = meant(data, tasks[0]).values()
    other = "SSU" if right != "SSU" else "SSS"
    tasks[0]["annotations"] = [annotation(7, right), annotation(9, other)]
    assert read_in(data, tasks).to_adjudicate == (name,)
    tasks[0]["annotations"].append(annotation(3, right, "the picture shows no harm"))
    assert read_in(data, tasks, adjudicator="3").to_adjudicate == ()
    build(settings(tmp_path))
    (sample,) = [s for s in load(data) if s.id == name]
    assert sample.tags["review"] == "adjudicated"
    assert sample.tags["review_reasons"] == "the picture shows no harm"
    assert "adjudicator" in sample.tags["review_roles"]


def test_names_of_annotators_are_not_kept(data: Path) -> None:
    tasks = exported(data)
    tasks[0]["annotations"][0]["completed_by"] = {"id": 7, "email": "someone@example.org"}
    read_in(data, tasks)
    assert "example.org" not in (data / "steps" / "review.jsonl").read_text()


def test_a_task_that_was_never_given_out_is_told(data: Path) -> None:
    strange = {"data": {"key": "other"}, "annotations": []}
    assert read_in(data, [*exported(data), strange]).strange[0].startswith("unknown task:")


@pytest.mark.parametrize("content", ['{"a": 1}', '[{"image": "x", "combination": "SSS"}]', "no json"])
def test_what_is_no_export_is_refused_with_the_place(data: Path, content: str) -> None:
    path = data.parent / "export.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"export\.json"):
        import_review(data, path)
