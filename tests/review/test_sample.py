from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from drawn_pictures import draw
from holisafe.building import BuildSettings, build
from holisafe.errors import DataError
from holisafe.review import export_sample, import_sample
from label_studio import annotation, exported


def sample(place: Path, count: int = 6) -> list[dict[str, Any]]:
    """A sample of a server: a record per picture, every third of them flagged, the last without a file."""
    draw(place / "pictures", count=count)
    records = []
    for at, path in enumerate(sorted((place / "pictures").iterdir())):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        image = {"sha256": digest, "label": "safe", "unsafe_probability": 0.15 * at, "flagged": at % 3 == 2}
        given = {**image, "file": f"pictures/{path.name}"} if at < count - 1 else image
        told = {"id": f"request-{at}", "time": "2026-11-28T10:00:00Z", "images": [given], "policy": "block"}
        records.append({**told, "request_probability": None, "action": "pass"})
    return records


def write(place: Path, records: list[Any]) -> Path:
    (place / "review.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    return place


def reviewed(place: Path, seen: str = "safe") -> list[dict[str, Any]]:
    return exported(place / "review", lambda at, data: [annotation(2 * at + w, w, "label", seen) for w in (0, 1)])


def test_the_least_certain_pictures_come_first_and_what_is_missing_is_said(tmp_path: Path) -> None:
    made = export_sample(write(tmp_path, sample(tmp_path)))
    tasks = json.loads((made.folder / "tasks.json").read_text())
    digests = [each["images"][0]["sha256"] for each in sample(tmp_path)]
    assert [task["data"]["key"] for task in tasks] == [digests[at] for at in (3, 4, 2, 1, 0)]
    assert [each.partition(":")[0] for each in made.left_out] == ["no picture"]
    assert not {"flagged", "label", "unsafe_probability"} & tasks[0]["data"].keys()


def test_what_people_see_gives_error_rates_rows_and_labels_to_build_with(tmp_path: Path) -> None:
    export_sample(write(tmp_path, sample(tmp_path)))
    tasks = reviewed(tmp_path)
    tasks[0]["annotations"] = [annotation(90 + who, who, "label", "harassment") for who in (0, 1)]  # probability 0.45
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    found = import_sample(tmp_path / "review.jsonl", [path])
    assert found.false_alarms is not None and (found.false_alarms.value, found.false_alarms.n) == (1.0, 1)
    assert found.missed is not None and (found.missed.value, found.missed.n) == (0.25, 4)
    rows = [json.loads(line) for line in (tmp_path / "reviewed.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok"] * 5 + ["rejected"]
    assert rows[0]["roles"] == "annotator-1, annotator-2" and rows[0]["dates"] == "2026-11-28"
    with (tmp_path / "labels.csv").open() as file:
        assert sorted(row["label"] for row in csv.DictReader(file)) == ["harassment", *["safe"] * 4]
    built = build(BuildSettings(tmp_path, tmp_path / "data", labels=tmp_path / "labels.csv", near_bits=4))
    assert next(each for each in built.counts if each.step == "labels").kept == 5


def test_lines_and_pictures_that_cannot_be_used_are_left_out_with_the_reason(tmp_path: Path) -> None:
    records = sample(tmp_path, 5)
    records[0]["images"][0]["file"] = "../outside.png"
    records[1]["images"][0]["file"] = records[2]["images"][0]["file"]
    records[2]["images"][0]["unsafe_probability"] = 2
    (tmp_path.parent / "outside.png").write_bytes(b"")
    made = export_sample(write(tmp_path, [*records, {"id": "text", "images": []}, "no object"]))
    kinds = sorted(each.partition(":")[0] for each in made.left_out)
    assert kinds == ["no image", "no picture", "other picture", "unreadable", "unreadable", "unreadable"]
    assert made.tasks == 1


def test_a_sample_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"review\.jsonl: no picture to review: .*the server keeps none"):
        export_sample(write(tmp_path, sample(tmp_path)[-1:]))


def damaged(tasks: list[dict[str, Any]], what: str) -> None:
    """Break one thing of an export."""
    first = tasks[0]["annotations"][0]
    match what:
        case "unhashable choice":
            first["result"][0]["value"]["choices"] = [["safe"]]
        case "annotations":
            tasks[0]["annotations"] = {"0": first}
        case "annotation":
            tasks[0]["annotations"] = ["safe"]
        case "tasks":
            tasks.clear()


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("annotations", "record 1, field annotations: expected a list of objects"),
        ("annotation", "record 1, field annotations: expected a list of objects"),
        ("tasks", "no task in there"),
    ],
)
def test_an_export_of_another_shape_is_refused_and_nothing_is_written(tmp_path: Path, what: str, said: str) -> None:
    export_sample(write(tmp_path, sample(tmp_path)))
    tasks = reviewed(tmp_path)
    damaged(tasks, what)
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match=said):
        import_sample(tmp_path, [tmp_path / "export.json"])
    assert not (tmp_path / "reviewed.jsonl").exists()


def test_a_choice_that_is_no_text_is_unreadable(tmp_path: Path) -> None:
    export_sample(write(tmp_path, sample(tmp_path)))
    tasks = reviewed(tmp_path)
    damaged(tasks, "unhashable choice")
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert import_sample(tmp_path, [tmp_path / "export.json"]).to_json()["reasons"]["unreadable"] == 1


def test_of_an_annotation_in_two_exports_the_later_counts(tmp_path: Path) -> None:
    export_sample(write(tmp_path, sample(tmp_path)))
    tasks = reviewed(tmp_path)
    (tmp_path / "first.json").write_text(json.dumps(tasks))
    for each in tasks[0]["annotations"]:
        each |= {"updated_at": "2027-01-01T00:00:00Z"}
        each["result"][0]["value"]["choices"] = ["harassment"]
    (tmp_path / "second.json").write_text(json.dumps(tasks))
    for order in (["first.json", "second.json"], ["second.json", "first.json"]):
        found = import_sample(tmp_path, [tmp_path / name for name in order])
        assert found.kept == 5 and [row.get("seen") for row in found.rows].count("harassment") == 1


@pytest.mark.parametrize("tasks", [None, [{"data": "x"}], [{"data": {"key": ["x"]}}]])
def test_an_import_without_the_exported_tasks_writes_nothing(tmp_path: Path, tasks: Any) -> None:
    export_sample(write(tmp_path, sample(tmp_path)))
    (tmp_path / "export.json").write_text(json.dumps(reviewed(tmp_path)))
    (tmp_path / "review/tasks.json").unlink()
    if tasks is not None:
        (tmp_path / "review/tasks.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match=r"run (it again|holisafe review export first)"):
        import_sample(tmp_path, [tmp_path / "export.json"])
    assert not (tmp_path / "reviewed.jsonl").exists()


@pytest.mark.parametrize("file", ["../secret.png", "/etc/hostname", "pictures/../../x.png", "a\0b"])
def test_a_picture_outside_the_folder_is_never_named_in_labels(tmp_path: Path, file: str) -> None:
    records = sample(tmp_path)
    export_sample(write(tmp_path, records))
    (tmp_path / "export.json").write_text(json.dumps(reviewed(tmp_path)))
    records[0]["images"][0]["file"] = file
    found = import_sample(write(tmp_path, records), [tmp_path / "export.json"])
    assert any("line 1: field images.0.file" in each for each in found.strange)
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize("images", ["http://host/review", "http://h\x01ost/", ""])
def test_an_address_that_no_path_can_follow_is_refused(tmp_path: Path, images: str) -> None:
    with pytest.raises(DataError, match="images: found"):
        export_sample(write(tmp_path, sample(tmp_path)), images=images)
    assert not (tmp_path / "review").exists()
