"""JSON, JSON lines, CSV and Parquet give the same records; one that cannot be read costs that record."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holisafe.datasets import Loaded, read
from holisafe.datasets._values import plain, show, usable_id
from holisafe.errors import DataError
from holisafe.taxonomy import GuardLabel

Make = Callable[..., dict[str, Any]]


def write_json(records: list[dict[str, Any]], folder: Path) -> Path:
    (folder / "data.json").write_text(json.dumps(records))
    return folder / "data.json"


def write_lines(records: list[dict[str, Any]], folder: Path) -> Path:
    (folder / "data.jsonl").write_text("\ufeff" + "\r\n\r\n".join(map(json.dumps, records)), encoding="utf-8")
    return folder / "data.jsonl"


def write_lines_as_json(records: list[dict[str, Any]], folder: Path) -> Path:
    (folder / "data.json").write_text("\n".join(map(json.dumps, records)))
    return folder / "data.json"


def write_csv(records: list[dict[str, Any]], folder: Path) -> Path:
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return folder / "data.csv"


def write_parquet(records: list[dict[str, Any]], folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(records), folder / "data.parquet")
    return folder / "data.parquet"


WRITERS = [write_json, write_lines, write_lines_as_json, write_csv, write_parquet]


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_samples(
    write: Callable[[list[dict[str, Any]], Path], Path], record: Make, folder: Path
) -> None:
    records = [record(), record(id=2, query='Two,\n"lines"', category="violence")]
    wanted = read(write_json(records, folder)).samples
    (folder / "data.json").unlink()
    loaded = read(write(records, folder))
    assert loaded.samples == wanted and loaded.problems == ()


@pytest.mark.parametrize("write", [write_lines, write_csv])
def test_the_folder_of_such_a_file_can_be_named(
    write: Callable[[list[dict[str, Any]], Path], Path], record: Make, folder: Path
) -> None:
    write([record()], folder)
    assert len(read(folder).samples) == 1


def test_floats_that_were_integers_and_nan_are_read(
    read_records: Callable[..., Loaded], record: Make, folder: Path
) -> None:
    changes = {"id": 2.0, "twin": 3.0, "image_safety_label": 15.0, "image_safe": 0.0, "subcategory": math.nan}
    (sample,) = read_records(record(**changes)).samples
    assert (sample.id, sample.twin, sample.subcategory) == ("2", "3", None)
    assert sample.image_labels == (GuardLabel.TERRORISM,)
    (bare,) = read_records(record(category=math.nan, subcategory=math.nan, image_safety_label=math.nan)).samples
    assert (bare.category, bare.image_labels) == (None, ())
    rows = [record(id=1.0, image_safety_label=15.0), record(id=2.0, image_safety_label=None)]
    assert [s.id for s in read(write_parquet(rows, folder)).samples] == ["1", "2"]


@given(st.integers(-(2**52), 2**52))
def test_a_whole_float_is_its_integer(number: int) -> None:
    assert plain(float(number)) == number and type(plain(float(number))) is int
    assert usable_id(float(number)) == str(number)


@pytest.mark.parametrize("number", [1.5, math.inf, -math.inf, math.nan, 1e300, pytest.param(10**5000, id="huge")])
def test_other_numbers_are_no_ids(number: float) -> None:
    assert usable_id(number) is None
    assert len(show(number)) < 90


DEEP = "[" * 2000 + "]" * 2000
BROKEN = {
    "nested": f'{{"id": "bad", "x": {DEEP}}}',
    "long integer": f'{{"id": {"9" * 5000}}}',
    "lone surrogate": '{"id": "bad", "query": "a\\ud83d", "type": "SSS", "category": null, "subcategory": null}',
    "surrogate in id": '{"id": "\\udc00"}',
    "NUL in id": '{"id": "a\\u0000b"}',
    "line break in id": '{"id": "a\\nb"}',
    "escape in id": '{"id": "\\u001b[2J"}',
    "syntax": '{"id": "bad", "query": }',
    "no object": "[1]",
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_record_that_cannot_be_read_is_named_and_the_others_load(
    record: Make, folder: Path, fault: str, suffix: str, place: int
) -> None:
    texts = [json.dumps(record(id=f'good "{number}" [{{,')) for number in range(2)]
    texts.insert(place, BROKEN[fault])
    text = "\n".join(texts) if suffix == "jsonl" else f"[{', '.join(texts)}]"
    (folder / f"data.{suffix}").write_text(text)
    loaded = read(folder)
    assert [sample.id for sample in loaded.samples] == ['good "0" [{,', 'good "1" [{,']
    assert {problem.index for problem in loaded.broken} == {place}
    assert loaded.broken_records == 1


@pytest.mark.parametrize("text", ['[{"id": 1}, {"id"', '[{"id": 1}] []', '[{"id": 1}}', '{"id": 1', '[{"a": "b]'])
def test_a_damaged_list_is_one_error(folder: Path, text: str) -> None:
    (folder / "data.json").write_text(text)
    with pytest.raises(DataError, match=r"data\.json: line 1, column"):
        read(folder)


def test_json_lines_without_a_good_line_are_one_error(folder: Path) -> None:
    (folder / "data.jsonl").write_text("hello\nthere\n")
    with pytest.raises(DataError, match=r"line 1.*expected one JSON object a line"):
        read(folder)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"id,query\n1,a,b\n", "line 2 has more cells"),
        (b"id,query\n1,\xff\n", "not UTF-8"),
        (b"id,query\n1," + b"a" * 200_000 + b"\n", "not readable as CSV"),
        (b"", "no records"),
        (b"id,query\n", "no records"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_one_error(folder: Path, content: bytes, complaint: str) -> None:
    (folder / "data.csv").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read(folder)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_damaged_parquet_byte_ends_no_process(record: Make, folder: Path, position: int, byte: int) -> None:
    """The Parquet library aborts on some of them."""
    file = write_parquet([record(id=number) for number in range(3)], folder)
    content = bytearray(file.read_bytes())
    content[position % len(content)] = byte
    file.write_bytes(content)
    try:
        loaded = read(file)
    except DataError as error:
        assert "data.parquet" in str(error)
    else:
        assert len(loaded.samples) + loaded.broken_records == 3
