from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drawn_pictures import settings
from holisafe.building import Review, build, export_review, import_review
from holisafe.datasets import load
from holisafe.errors import DataError
from label_studio import annotation, exported


@pytest.fixture
def data(tmp_path: Path) -> Path:
    build(settings(tmp_path))
    export_review(tmp_path / "data")
    return tmp_path / "data"


def meant(data: Path, key: str) -> dict[str, str]:
    return dict(json.loads((data / "steps" / "review-meant.json").read_text())[key])


def said(who: int, choice: str, reason: str = "") -> dict[str, Any]:
    return annotation(who, who, "combination", choice, reason)


def agreed(data: Path) -> list[dict[str, Any]]:
    """An export in which two people see every sample as it was meant."""
    return exported(
        data / "review",
        lambda at, told: [
            annotation(2 * at + n, who, "combination", meant(data, told["key"])["combination"])
            for n, who in enumerate((7, 9))
        ],
    )


def read_in(data: Path, tasks: list[dict[str, Any]], **given: Any) -> Review:
    path = data.parent / "export.json"
    path.write_text(json.dumps(tasks))
    return import_review(data, [path], **given)


def test_nothing_that_label_studio_gets_says_what_is_meant(data: Path) -> None:
    assert all(set(task["data"]) == {"key", "picture", "request", "text"} for task in agreed(data))
    assert not list((data / "review").rglob("*meant*"))


def test_two_who_agree_keep_a_sample_with_roles_and_date(data: Path, tmp_path: Path) -> None:
    found = read_in(data, agreed(data))
    assert (found.kept, found.agreed.annotators) == (found.tasks, 2)
    assert found.agreed.alpha is not None and found.agreed.alpha.value == found.agreed.alpha.high == 1
    build(settings(tmp_path))
    tags = load(data, "train")[0].tags
    assert tags["review"] == "agreed"
    assert tags["review_roles"] == "annotator-1, annotator-2"
    assert tags["review_dates"] == "2026-11-28"


@pytest.mark.parametrize(
    ("annotations", "kind"),
    [([said(7, "unusable"), said(9, "unusable")], "review"), ([said(7, "SSS")], "missing")],
)
def test_what_people_do_not_see_as_meant_is_a_row_and_left_out(
    data: Path, tmp_path: Path, annotations: list[dict[str, Any]], kind: str
) -> None:
    tasks = agreed(data)
    name = meant(data, tasks[0]["data"]["key"])["id"]
    tasks[0]["annotations"] = annotations
    found = read_in(data, tasks)
    assert [row.reason.partition(":")[0] for row in found.rows if not row.is_ok] == [kind]
    build(settings(tmp_path))
    assert name not in {sample.id for sample in load(data)}


def test_an_adjudicator_settles_and_the_reason_is_kept(data: Path, tmp_path: Path) -> None:
    tasks = agreed(data)
    told = meant(data, tasks[0]["data"]["key"])
    name, right = told["id"], told["combination"]
    tasks[0]["annotations"] = [said(7, right), said(9, "SSU" if right != "SSU" else "SSS")]
    assert read_in(data, tasks).to_adjudicate == (name,)
    assert [task["data"]["key"] for task in json.loads((data / "review" / "adjudicate.json").read_text())] == [
        tasks[0]["data"]["key"]
    ]
    tasks[0]["annotations"].append(said(3, right, "the picture shows no harm"))
    assert read_in(data, tasks, adjudicator="3").to_adjudicate == ()
    build(settings(tmp_path))
    (sample,) = [s for s in load(data) if s.id == name]
    assert sample.tags["review"] == "adjudicated"
    assert sample.tags["review_reasons"] == "the picture shows no harm"
    assert "adjudicator" in sample.tags["review_roles"]


def test_names_of_annotators_are_not_kept(data: Path) -> None:
    tasks = agreed(data)
    tasks[0]["annotations"][0]["completed_by"] = {"id": 7, "email": "someone@example.org"}
    read_in(data, tasks)
    assert "example.org" not in (data / "steps" / "review.jsonl").read_text()


def test_a_task_that_was_never_given_out_is_a_row(data: Path) -> None:
    found = read_in(data, [*agreed(data), {"data": {"key": "other"}, "annotations": []}])
    assert found.rows[-1].reason.startswith("unknown task:")
    assert found.tasks == len(found.rows) - 1


def test_what_was_never_given_out_is_not_read(tmp_path: Path) -> None:
    build(settings(tmp_path))
    with pytest.raises(DataError, match=r"review-meant\.json: no such file; run holisafe review export first"):
        import_review(tmp_path / "data", [tmp_path / "export.json"])
    with pytest.raises(DataError, match="not what holisafe build or a server's review sample writes"):
        export_review(tmp_path / "pictures")
