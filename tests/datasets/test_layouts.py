"""Other safety data sets are imported where a map of fields suffices; else the missing fields are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from holisafe.datasets import read
from holisafe.errors import DataError
from holisafe.records import Behaviour
from holisafe.taxonomy import Category, Combination


def write(folder: Path, content: Any) -> Path:
    (folder / "data.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def images(tmp_path: Path, png: bytes) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(png + name.encode())
    return tmp_path


def test_siuo_is_safe_inputs_unsafe_together(images: Path) -> None:
    record = {"question_id": 7, "image": "a.png", "question": "What?", "safety_warning": "w", "reference_answer": "r"}
    loaded = read(write(images, [record | {"category": "self-harm"}, record | {"question_id": 8, "category": "other"}]))
    first, second = loaded.samples
    assert (first.id, first.query, first.combination, first.reference) == ("7", "What?", Combination.SSU, "r")
    assert (first.category, second.category) == (Category.SELF_HARM, None)
    assert (second.tags["source_category"], second.source) == ("other", "SIUO")


def test_vlguard_has_an_instruction_a_sample(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.png").write_bytes(png)
    pairs = [{"safe_instruction": "What?", "response": "A square."}, {"unsafe_instruction": "x?", "response": "No."}]
    unsafe = {"id": "c", "image": "a.png", "safe": False, "harmful_category": "privacy", "harmful_subcategory": "data"}
    records = [
        {"id": "a", "image": "a.png", "safe": True, "instr-resp": pairs},
        unsafe | {"instr-resp": [{"instruction": "Read it.", "response": "No."}]},
    ]
    loaded = read(write(tmp_path, records))
    assert loaded.broken == ()
    assert "--data vlguard:" in loaded.notes[0].remedy
    assert [(s.id, s.combination, s.expected, s.reference) for s in loaded.samples] == [
        ("a-safe", Combination.SSS, Behaviour.ANSWER, "A square."),
        ("a-unsafe", Combination.SUU, Behaviour.REFUSE, "No."),
        ("c", None, Behaviour.REFUSE, "No."),
    ]
    assert loaded.samples[2].category is Category.PRIVACY


def test_mssbench_gives_twins(images: Path) -> None:
    chat = {"safe_image_path": "a.png", "unsafe_image_path": "b.png", "queries": ["q?", "r?"], "intent": "i"}
    loaded = read(write(images, {"chat": [chat], "embodied": []}))
    assert loaded.broken == ()
    assert "--data mssbench:" in loaded.notes[0].remedy
    by_id = {sample.id: sample for sample in loaded.samples}
    assert len(by_id) == 4
    for sample in loaded.samples:
        assert sample.twin is not None
        assert by_id[sample.twin].query == sample.query and by_id[sample.twin].expected is not sample.expected


LACKING: list[tuple[str, Any, list[str]]] = [
    ("MM-SafetyBench", {"0": {"Question": "q", "Changed Question": "c", "Rephrased Question": "r"}}, ["image", "type"]),
    ("SPA-VL", [{"image": "a.png", "question": "q", "class1": "c"}], ["type", "expected"]),
    ("BeaverTails-V", [{"image": "a.png", "question": "q", "response": "r", "category": "c"}], ["type", "expected"]),
]


@pytest.mark.parametrize(("name", "content", "missing"), LACKING)
def test_a_set_that_does_not_say_what_is_right_is_named_with_what_is_missing(
    images: Path, name: str, content: Any, missing: list[str]
) -> None:
    with pytest.raises(DataError) as raised:
        read(write(images, content))
    message = str(raised.value)
    assert f"looks like {name}" in message and all(f"`{field}`" in message for field in missing)
    assert "[ ]" not in message


def test_with_what_is_missing_added_it_is_read(images: Path) -> None:
    record = {"id": 1, "image": "a.png", "question": "q?", "chosen": "c", "rejected": "r", "expected": "answer"}
    (sample,) = read(write(images, [record])).samples
    assert (sample.query, sample.combination, sample.expected) == ("q?", None, Behaviour.ANSWER)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ({"data": [{"id": 1}], "version": 2}, "save the list in its field 'data'"),
        ({"train": [{"id": 1}], "test": [{"id": 2}]}, "save the list in one of its fields 'train', 'test'"),
        ({"7": {"query": "q"}, "8": {"query": "r"}}, "save these as a list, each with its name as `id`"),
        ({"id": 1, "query": "q", "type": "SSS"}, "wrap the record in [ ]"),
        ({"colour": "red"}, "its fields colour are not those of a record"),
        ({}, "are not those of a record"),
    ],
)
def test_an_object_at_the_top_gets_advice_that_fits(images: Path, content: Any, advice: str) -> None:
    with pytest.raises(DataError) as raised:
        read(write(images, content))
    assert "found an object at the top level" in str(raised.value) and advice in str(raised.value)


@pytest.mark.parametrize(
    "record",
    [
        {"question_id": None, "question": None, "image": 7, "safety_warning": None},
        {"id": [], "safe": "?", "instr-resp": 7},
        {"id": [], "safe": True, "instr-resp": [7, {}, {"instruction": None}]},
        {"safe_image_path": 7, "unsafe_image_path": None, "queries": [None]},
    ],
)
def test_broken_records_of_these_sets_are_reported(images: Path, record: dict[str, Any]) -> None:
    loaded = read(write(images, [record]))
    assert loaded.samples == () and loaded.broken
