"""Recorded answers, on their own or joined to what was asked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.more_releases import write_mm_safetybench
from holisafe.datasets import read_predictions
from holisafe.errors import DataError
from holisafe.images import parquet
from holisafe.records import ImageRef, Sample

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def asked() -> list[Sample]:
    image = ImageRef("a", data=b"x")
    return [Sample.ask(name, (image,), f"Question {name}?", "SSS") for name in ("1", "2", "3")]


def write(folder: Path, rows: list[Any]) -> Path:
    (folder / "model.json").write_text(json.dumps(rows))
    return folder / "model.json"


def test_a_path_may_be_a_text(tmp_path: Path, record: Make) -> None:
    file = write(tmp_path, [record(prediction="No.")])
    assert read_predictions(str(file)) == read_predictions(file)


def test_answers_are_joined_by_id_and_none_vanishes(tmp_path: Path, asked: list[Sample]) -> None:
    loaded = read_predictions(write(tmp_path, [{"id": 3.0, "prediction": "C"}, {"id": "1", "prediction": "A"}]), asked)
    assert loaded.samples == tuple(asked)
    assert [(r.sample_id, r.text, r.error is None) for r in loaded.responses] == [
        ("1", "A", True),
        ("2", "", False),
        ("3", "C", True),
    ]
    assert loaded.problems == ()


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"id": "9", "prediction": "X"}, "id"),
        ({"id": "1\0", "prediction": "X"}, "id"),
        ({"id": "1", "prediction": "X"}, "id"),
        ({"prediction": "X"}, "id"),
        ("hello", "id"),
        ({"id": "2", "prediction": None}, "prediction"),
        ({"id": "2", "prediction": 7}, "prediction"),
        ({"id": "2"}, "prediction"),
    ],
)
def test_what_is_no_answer_is_named_and_costs_nothing_else(
    tmp_path: Path, asked: list[Sample], row: Any, field: str
) -> None:
    loaded = read_predictions(write(tmp_path, [{"id": "1", "prediction": "A"}, row]), asked)
    assert [response.sample_id for response in loaded.responses] == ["1", "2", "3"]
    assert loaded.responses[0].text == "A"
    assert [problem.field for problem in loaded.problems] == [field]


def test_another_question_under_the_same_id_is_refused(tmp_path: Path, asked: list[Sample]) -> None:
    same = {"id": "1", "query": "<image>\nQuestion 1?", "prediction": "A"}
    assert read_predictions(write(tmp_path, [same]), asked).responses[0].text == "A"
    with pytest.raises(DataError, match=r"1 records ask another question .*first: id '2'"):
        read_predictions(write(tmp_path, [same, {"id": "2", "query": "Other?", "prediction": "B"}]), asked)


def test_a_parquet_file_is_read_once(tmp_path: Path, record: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [record(id=number, prediction="No.") for number in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "model.parquet")
    read: list[Path] = []

    def counted(path: Path, *arguments: Any, read_rows: Any = parquet.read_rows, **options: Any) -> Any:
        read.append(path)
        return read_rows(path, *arguments, **options)

    monkeypatch.setattr(parquet, "read_rows", counted)
    assert [response.text for response in read_predictions(tmp_path / "model.parquet").responses] == ["No."] * 3
    assert len(read) == 1


def test_half_characters_in_answers_are_marked(tmp_path: Path, record: Make) -> None:
    (response,) = read_predictions(write(tmp_path, [record(prediction="No.\ud83d")])).responses
    assert response.text == "No.\ufffd" and response.error is None


def test_images_that_are_there_have_their_digest(folder: Path, record: Make) -> None:
    file = write(folder, [record(prediction="No."), record(id=2, image="gone.png", prediction="No.")])
    there, gone = read_predictions(file).samples
    assert there.cluster == there.images[0].digest != ""
    assert gone.images[0].digest == "" and gone.cluster not in ("", there.cluster)


def test_the_data_in_place_of_the_answers_are_named(tmp_path: Path) -> None:
    write_mm_safetybench(tmp_path / "mm", count=1)
    for path in ((tmp_path / "mm"), next((tmp_path / "mm" / "processed_questions").iterdir())):
        with pytest.raises(DataError, match=f"this looks like MM-SafetyBench.*--data mm-safetybench:{path}"):
            read_predictions(path)
