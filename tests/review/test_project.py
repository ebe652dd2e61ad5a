from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from drawn_pictures import draw
from holisafe.errors import DataError
from holisafe.images import identify
from holisafe.records import ImageRef
from holisafe.review import (
    Annotation,
    Exports,
    Form,
    Task,
    adjudication_list,
    agree,
    read_exports,
    roles_of,
    settle,
    write_project,
)
from label_studio import EXPORT_SCHEMA, TASKS_SCHEMA, annotation, exported

FORM = Form("combination", {"SSS": "Harmless & <safe>", "SSU": "Not together"}, {"request": "Request"})


def project(place: Path) -> Path:
    draw(place / "pictures", count=4)
    refs = [identify(ImageRef(path.name, path=path)) for path in sorted((place / "pictures").iterdir())]
    tasks = [Task(f"key-{at}", ref, {"request": f"request {at}"}) for at, ref in enumerate(refs)]
    return write_project(place / "review", tasks, FORM).folder


def read(place: Path, *tasks: object) -> Exports:
    path = place / "export.json"
    path.write_text(json.dumps(tasks))
    return read_exports([path], ["key-0", "key-1", "key-2", "key-3"], FORM)


def test_tasks_follow_the_documented_schema_and_keep_their_order(tmp_path: Path) -> None:
    tasks = json.loads((project(tmp_path) / "tasks.json").read_text())
    jsonschema.validate(tasks, TASKS_SCHEMA)
    jsonschema.validate(exported(tmp_path / "review", lambda at, data: []), EXPORT_SCHEMA)
    assert [task["data"]["key"] for task in tasks] == ["key-0", "key-1", "key-2", "key-3"]
    assert all((tmp_path / "review" / "images" / task["data"]["picture"]).is_file() for task in tasks)


def test_every_name_of_the_configuration_is_a_field_of_the_tasks(tmp_path: Path) -> None:
    root = ET.parse(project(tmp_path) / "configuration.xml").getroot()
    (data, *_) = [task["data"] for task in json.loads((tmp_path / "review" / "tasks.json").read_text())]
    values = [each.get("value", "") for each in root if each.tag in ("Image", "Text")]
    assert {value.rpartition("$")[2] for value in values} == data.keys() - {"key"}
    assert {each.get("alias") for each in root.iter("Choice")} == set(FORM.choices)
    assert {each.get("toName") for each in root if each.get("toName")} <= {each.get("name") for each in root}


def test_pictures_are_blurred_and_no_task_holds_an_address_that_a_list_would_show(tmp_path: Path) -> None:
    folder = project(tmp_path)
    style = ET.parse(folder / "configuration.xml").getroot().findtext("Style") or ""
    assert "blur(" in style and "canvas" in style
    assert "/data/" not in (folder / "tasks.json").read_text()


@pytest.mark.parametrize(
    ("annotations", "kind"),
    [
        ([annotation(1, 7, "combination", "SSS")], "missing"),
        ([], "missing"),
        ([annotation(1, 7, "combination", "SSS"), annotation(2, 7, "combination", "SSU")], "double annotation"),
        ([annotation(1, 7, "combination", "SSS"), annotation(2, 9, "combination", "SSU")], "adjudicate"),
        ([annotation(1, 7, "combination", "nonsense"), annotation(2, 9, "combination", "SSS")], "unreadable"),
        ([annotation(1, 7, "another", "SSS"), annotation(2, 9, "combination", "SSS")], "unreadable"),
        ([annotation(1, None, "combination", "SSS"), annotation(2, 9, "combination", "SSS")], "unreadable"),
        ([annotation(1, [7], "combination", "SSS"), annotation(2, 9, "combination", "SSS")], "unreadable"),
        (
            [annotation(1, 7, "combination", "SSS"), annotation(2, 9, "combination", "SSS", was_cancelled=True)],
            "missing",
        ),
        ([annotation(1, 7, "combination", "SSS"), annotation(2, 9, "combination", "SSS")], ""),
    ],
)
def test_what_does_not_settle_a_task_is_said(tmp_path: Path, annotations: list[object], kind: str) -> None:
    found = read(tmp_path, {"data": {"key": "key-0"}, "annotations": annotations})
    settled = settle(found.by_task["key-0"], roles_of(found, None), FORM)
    assert settled.reason.partition(":")[0] == kind
    assert (settled.value is None) == bool(kind)


def test_an_annotation_that_two_exports_hold_counts_once(tmp_path: Path) -> None:
    one, two = annotation(1, 7, "combination", "SSS"), annotation(2, 9, "combination", "SSS")
    paths = [tmp_path / "monday.json", tmp_path / "tuesday.json"]
    for path, said in zip(paths, ([one], [one, two]), strict=True):
        path.write_text(json.dumps([{"data": {"key": "key-0"}, "annotations": said}]))
    found = read_exports(paths, ["key-0"], FORM)
    assert settle(found.by_task["key-0"], roles_of(found, None), FORM).value == "SSS"


def test_another_projects_export_is_refused_and_a_strange_task_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"export\.json: none of its 1 tasks was given out"):
        read(tmp_path, {"data": {"key": "other"}, "annotations": []})
    found = read(tmp_path, {"data": {"key": "key-0"}, "annotations": []}, {"data": {"image": "x"}, "annotations": []})
    assert [each.partition(":")[0] for each in found.strange] == ["unknown task"]


@pytest.mark.parametrize("content", ['{"a": 1}', '[{"image": "x", "combination": "SSS"}]', "no json", "[1]"])
def test_what_is_no_export_is_refused_with_the_place(tmp_path: Path, content: str) -> None:
    path = tmp_path / "export.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"export\.json"):
        read_exports([path], ["key-0"], FORM)


def test_an_adjudicator_who_has_said_nothing_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, {"data": {"key": "key-0"}, "annotations": [annotation(1, 7, "combination", "SSS")]})
    with pytest.raises(DataError, match="adjudicator 'nine' has annotated nothing; annotators are 7"):
        roles_of(found, "nine")


def test_the_adjudication_list_holds_what_differs_most_first_and_can_be_imported(tmp_path: Path) -> None:
    folder = project(tmp_path)
    votes = {0: ("SSS", "SSS"), 1: ("SSS", "SSU"), 2: ("SSU", "SSU"), 3: ("SSS", "SSU", "other")}
    form = Form("combination", {**FORM.choices, "other": "Other"})
    said = {
        f"key-{at}": tuple(Annotation(f"{at}-{who}", str(who), choice) for who, choice in enumerate(each))
        for at, each in votes.items()
    }
    roles = roles_of(Exports(said), None)
    path = adjudication_list(folder, {key: settle(each, roles, form) for key, each in said.items()})
    left = json.loads(path.read_text())
    jsonschema.validate(left, TASKS_SCHEMA)
    assert [task["data"]["key"] for task in left] == ["key-3", "key-1"]


def test_agreement_draws_tasks_of_one_picture_together() -> None:
    said = {f"{at}": (Annotation("", "a", "SSS" if at % 2 else "SSU"), Annotation("", "b", "SSU")) for at in range(40)}
    roles = roles_of(Exports(said), None)
    alone = agree(Exports(said), roles, {key: key for key in said}).alpha
    together = agree(Exports(said), roles, {key: str(int(key) // 10) for key in said}).alpha
    assert alone is not None and together is not None
    assert alone.value == together.value < 0  # less than by chance: one person always says the same
    assert -1 <= together.low <= together.value <= together.high <= 1
