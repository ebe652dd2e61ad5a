"""Labels by people: rows, JSON Lines, Label Studio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holisafe.datasets.human_labels import LabelledAnswer, read_labels
from holisafe.errors import DataError
from holisafe.records import Outcome

ROWS: list[dict[str, Any]] = [
    {"id": 1, "text": "No.", "label": "refused", "annotator": "ann", "model": "m", "cluster": "image"},
    {"id": 1, "text": "No.", "label": "Answered", "annotator": "bob", "model": "m", "cluster": "image"},
    {"id": 2, "text": "Yes.", "label": "answered", "annotator": "ann", "model": "m", "cluster": "image"},
    {"id": 3, "text": "Hm.", "label": "", "annotator": "", "model": "m", "cluster": ""},
]
EXPECTED = (
    LabelledAnswer("1", "No.", "m", "image", {"ann": Outcome.REFUSED, "bob": Outcome.ANSWERED}),
    LabelledAnswer("2", "Yes.", "m", "image", {"ann": Outcome.ANSWERED}),
    LabelledAnswer("3", "Hm.", "m", "3", {}),
)


def _write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def _same(found: tuple[LabelledAnswer, ...]) -> None:
    assert found == EXPECTED
    assert [one.labels for one in found] == [one.labels for one in EXPECTED]


def test_the_same_labels_are_read_from_every_format(tmp_path: Path) -> None:
    names = list(ROWS[0])
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in ROWS)]
    _same(read_labels(_write(tmp_path, "labels.csv", "\n".join(lines))))
    _same(read_labels(_write(tmp_path, "labels.jsonl", "\n".join(map(json.dumps, ROWS)))))
    _same(read_labels(_write(tmp_path, "labels.json", json.dumps(ROWS))))
    _same(read_labels(_write(tmp_path, "studio.json", json.dumps(_studio()))))


def _studio() -> list[dict[str, Any]]:
    tasks: dict[int, dict[str, Any]] = {}
    for row in ROWS:
        data = {name: row[name] for name in ("id", "text", "model", "cluster")}
        task = tasks.setdefault(row["id"], {"id": 1000 + row["id"], "data": data, "annotations": []})
        if row["label"]:
            result = [{"type": "choices", "from_name": "outcome", "value": {"choices": [row["label"]]}}]
            task["annotations"].append({"completed_by": {"id": 5, "email": row["annotator"]}, "result": result})
    tasks[3]["annotations"].append({"completed_by": 9, "was_cancelled": True, "result": []})
    return list(tasks.values())


def test_what_annotators_agree_on_or_the_adjudicator_says_is_settled() -> None:
    one, two, three = EXPECTED
    assert (one.settled(), two.settled(), three.settled()) == (None, Outcome.ANSWERED, None)
    assert one.settled("bob") is Outcome.ANSWERED
    assert two.settled("bob") is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"text": "No.", "label": "refused"}, r"record 2, field id: found nothing"),
        ({"id": 9, "label": "refused"}, r"record 2, field text: found nothing"),
        ({"id": 9, "text": "No.", "label": "safe"}, r'record 2, field label: found "safe"; expected one of refused'),
        ({"id": 9, "text": "No.", "label": 1}, r"record 2, field label: found 1"),
        (
            {"id": 1, "text": "No.", "label": "refused", "annotator": "ann", "model": "m"},
            "'ann' labels the answer '1' twice",
        ),
        ({"id": 1, "text": "Other.", "label": "refused", "annotator": "eve", "model": "m"}, "another text"),
        ({"id": 9, "text": "No.", "annotator": ["x"]}, "field annotator"),
        ({"data": {"id": 9, "text": "No."}, "annotations": [{"result": []}]}, "annotation 1: found 0 choices"),
        ({"data": {"id": 9, "text": "No."}, "annotations": 3}, "field annotations: found 3"),
    ],
)
def test_a_bad_record_is_named_with_its_field(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    with pytest.raises(DataError, match=why):
        read_labels(_write(tmp_path, "labels.json", json.dumps([ROWS[0], row])))


def test_a_file_without_records_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no records"):
        read_labels(_write(tmp_path, "labels.json", "[]"))
    with pytest.raises(DataError, match="no such file"):
        read_labels(tmp_path / "none.csv")


ANSWERS = [LabelledAnswer(f"{at}", f"Answer {at}.", "m") for at in range(4)]


def _scores(path: Path, *records: dict[str, object]) -> Path:
    """A file of Inspect's scorer `precomputed_scores`."""
    is_lines = path.suffix == ".jsonl"
    path.write_text("\n".join(map(json.dumps, records)) if is_lines else json.dumps(records))
    return path


def test_precomputed_scores_are_labels_of_the_answers_each_file_one_annotator(tmp_path: Path) -> None:
    ann = _scores(tmp_path / "ann.jsonl", {"id": 0, "value": "refused"}, {"id": 1, "value": "answered", "epoch": 1})
    bob = _scores(tmp_path / "bob.json", {"id": "1", "value": "Refused", "explanation": "short"})
    found = read_labels([ann, bob], ANSWERS)
    assert [one.labels for one in found] == [
        {"ann": Outcome.REFUSED},
        {"ann": Outcome.ANSWERED, "bob": Outcome.REFUSED},
        {},
        {},
    ]
    assert [one.text for one in found] == [one.text for one in ANSWERS]


@pytest.mark.parametrize(
    ("records", "answers", "why"),
    [
        (({"id": 0, "value": "refused"},), None, "--answers"),
        (({"id": 9, "value": "refused"},), ANSWERS, "field id"),
        (({"id": 0, "value": "C"},), ANSWERS, "field value"),
        (({"id": 0, "value": 1},), ANSWERS, "field value"),
        (({"id": 0, "value": "refused", "epoch": 2},), ANSWERS, "field epoch"),
        (({"id": 0, "value": "refused"}, {"id": 0, "value": "refused"}), ANSWERS, "twice"),
        (({"id": 0},), ANSWERS, "field text"),
        ((), ANSWERS, "no records"),
    ],
)
def test_precomputed_scores_that_label_nothing_are_refused(
    tmp_path: Path, records: tuple[dict[str, object], ...], answers: list[LabelledAnswer] | None, why: str
) -> None:
    with pytest.raises(DataError, match=why):
        read_labels(_scores(tmp_path / "ann.jsonl" if records else tmp_path / "ann.json", *records), answers)


def test_they_are_what_inspect_reads(tmp_path: Path) -> None:
    from inspect_ai.scorer import precomputed_scores

    file = _scores(tmp_path / "ann.jsonl", {"id": 0, "value": "refused", "epoch": 1})
    assert precomputed_scores(str(file)) is not None
    assert read_labels(file, ANSWERS)[0].labels == {"ann": Outcome.REFUSED}


def test_a_request_is_read_under_either_name_and_must_be_one_text(tmp_path: Path) -> None:
    row = {"id": 1, "text": "No.", "label": "refused", "annotator": "ann"}
    other = row | {"annotator": "bob"}
    for name in ("request", "query"):
        file = _write(tmp_path, "labels.json", json.dumps([row, other | {name: "What is this?"}]))
        assert [one.request for one in read_labels(file)] == ["What is this?"]
    for rows, why in (
        ([row | {"request": "What?"}, other | {"request": "Who?"}], "another text"),
        ([row | {"query": ["What?"]}], "expected the text of what was asked"),
    ):
        with pytest.raises(DataError, match=f"field request: .*{why}"):
            read_labels(_write(tmp_path, "labels.json", json.dumps(rows)))
