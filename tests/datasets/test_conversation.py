"""Conversations become turns: placeholders out, images in place, the last answer as the reference."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.datasets import Loaded, read
from holisafe.datasets._conversation import without_placeholders
from holisafe.images import content_hash
from holisafe.records import Behaviour, Role, Sample
from holisafe.taxonomy import Combination

ReadRecords = Callable[..., Loaded]


@pytest.fixture
def read_lines(folder: Path, png: bytes) -> ReadRecords:
    """Writes records as JSON lines beside the images a.png and b.png, and reads them."""

    def read_them(*records: dict[str, Any]) -> Loaded:
        for name, tail in (("a.png", b""), ("b.png", b"b")):
            (folder / "images" / name).write_bytes(png + tail)
        (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return read(folder)

    return read_them


def llava(*turns: tuple[str, str], **fields: Any) -> dict[str, Any]:
    return {"id": "x", **fields, "conversations": [{"from": name, "value": value} for name, value in turns]}


def openai(*turns: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "x", **fields, "messages": [{"role": role, "content": content} for role, content in turns]}


def shape(sample: Sample) -> list[tuple[str, str, list[str]]]:
    return [(turn.role, turn.text, [ref.key for ref in turn.images]) for turn in sample.turns]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<image>\nWhat is it?", "What is it?"),
        ("What is it?<image>", "What is it?"),
        ("<image>\n<image>\nWhich is nicer?", "Which is nicer?"),
        ("Look: <image> what is it?", "Look: what is it?"),
        ("Look:\n<image>\nwhat is it?", "Look:\nwhat is it?"),
        ("<image>What differs between this and <image>?", "What differs between this and?"),
        ("one<image>two <image> three", "one two three"),
        ("No image. ", "No image. "),
        ("<image>", ""),
        ("<IMAGE> and <ImageHere>", "and"),
    ],
)
def test_placeholders_are_removed_wherever_they_stand(text: str, left: str) -> None:
    assert without_placeholders(text)[0] == left


@given(st.lists(st.sampled_from(["<image>", " ", "\n", "a", "?", "<imag", "e>"]), max_size=30).map("".join))
def test_no_placeholder_and_no_other_word_is_lost(text: str) -> None:
    left, count = without_placeholders(text)
    assert count == text.lower().count("<image>")
    if count:
        pieces = text.split("<image>")
        assert "".join(left.split()) == "".join("".join(pieces).split())
        assert left == left.strip()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<image>" * 200_000, id="placeholders"),
        pytest.param(" " * 300_000 + "<image>" + " " * 300_000 + "x", id="spaces"),
        pytest.param("<image>\n \n" * 100_000 + "x", id="lines"),
        pytest.param("<" * 600_000, id="openings"),
    ],
)
def test_long_texts_are_read_in_linear_time(text: str) -> None:
    """A quadratic scan of these would not end within the hour."""
    left, _ = without_placeholders(text)
    assert "<image>" not in left


@pytest.mark.parametrize("name", ["conversations", "messages", "conversation"])
@pytest.mark.parametrize(
    ("keys", "roles"),
    [(("from", "value"), ("system", "human", "gpt")), (("role", "content"), ("system", "user", "assistant"))],
)
def test_system_and_later_turns_are_kept_and_the_last_answer_is_the_reference(
    read_lines: ReadRecords, name: str, keys: tuple[str, str], roles: tuple[str, str, str]
) -> None:
    system, human, gpt = roles
    said = [(system, "Be kind."), (human, "<image>What?"), (gpt, "A pan."), (human, "Is it hot?"), (gpt, "Yes.")]
    record = {"id": 1, "image": "a.png", name: [dict(zip(keys, turn, strict=True)) for turn in said]}
    (sample,) = read_lines(record).samples
    assert shape(sample) == [
        ("system", "Be kind.", []),
        ("user", "What?", ["a.png"]),
        ("assistant", "A pan.", []),
        ("user", "Is it hot?", []),
    ]
    assert (sample.query, sample.reference) == ("Is it hot?", "Yes.")


def test_a_conversation_that_ends_in_a_question_has_no_reference(read_lines: ReadRecords) -> None:
    (sample,) = read_lines(llava(("human", "<image>What?"), image="a.png")).samples
    assert (sample.query, sample.reference) == ("What?", None)


def test_the_records_own_reference_and_system_field_count(read_lines: ReadRecords) -> None:
    (sample,) = read_lines(llava(("human", "What?"), ("gpt", "A."), system="Be kind.", reference="B.")).samples
    assert sample.reference == "B." and sample.turns[0].role is Role.SYSTEM


def test_images_stand_where_their_placeholders_stood(read_lines: ReadRecords) -> None:
    turns = [("human", "<image>First?"), ("gpt", "Yes."), ("human", "And <image>?"), ("gpt", "No.")]
    (sample,) = read_lines(llava(*turns, images=["a.png", "b.png"])).samples
    assert [keys for _, _, keys in shape(sample)] == [["a.png"], [], ["b.png"]]


def test_images_without_placeholder_are_in_the_first_question(read_lines: ReadRecords) -> None:
    turns = [("system", "Be kind."), ("human", "First?"), ("gpt", "Yes."), ("human", "And?"), ("gpt", "No.")]
    (sample,) = read_lines(llava(*turns, image=["a.png", "b.png"])).samples
    assert [keys for _, _, keys in shape(sample)] == [[], ["a.png", "b.png"], [], []]


@pytest.mark.parametrize(("images", "count"), [([], 0), (["a.png"], 1)])
def test_a_placeholder_without_image_is_a_broken_record(read_lines: ReadRecords, images: list[str], count: int) -> None:
    loaded = read_lines(llava(("human", "<image><image>Which?"), images=images), llava(("human", "Hi?")) | {"id": "y"})
    assert [sample.id for sample in loaded.samples] == ["y"]
    (problem,) = loaded.broken
    assert problem.field == "images"
    assert f"{count} image" in problem.found and problem.expected.startswith("2, one for each <image>")


def test_fewer_placeholders_than_images_are_noted(read_lines: ReadRecords) -> None:
    loaded = read_lines(llava(("human", "<image>Which?"), images=["a.png", "b.png"], type="SSS"))
    assert len(loaded.samples[0].images) == 2 and [note.found for note in loaded.notes] == ["1 <image> for 2 images"]


def test_content_parts_are_read_in_every_form(read_lines: ReadRecords, png: bytes) -> None:
    inline = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": inline}, "text": None},
        {"type": "image"},
        {"type": "image", "image": "b.png"},
        {"type": "text", "text": "this?"},
    ]
    record = openai(("user", parts), ("assistant", [{"type": "text", "text": "A pan."}]), image="a.png")
    (sample,) = read_lines(record).samples
    assert [ref.key for ref in sample.images] == [content_hash(png), "a.png", "b.png"]
    assert sample.images[0].digest == content_hash(png)
    assert (sample.query, sample.reference) == ("What is\nthis?", "A pan.")


def test_general_training_data_count_as_harmless_and_that_is_noted_once(read_lines: ReadRecords) -> None:
    records = [llava(("human", "<image>What?"), ("gpt", "A pan."), image="a.png") | {"id": n} for n in range(3)]
    loaded = read_lines(*records, llava(("human", "Hi"), ("gpt", "Hello.")) | {"id": "text"})
    assert [sample.combination for sample in loaded.samples] == [Combination.SSS] * 4
    assert [sample.expected for sample in loaded.samples] == [Behaviour.ANSWER] * 4
    assert loaded.samples[3].images == () and loaded.samples[3].cluster not in {s.cluster for s in loaded.samples[:3]}
    assert sorted((note.field, note.index) for note in loaded.notes) == [("image", None), ("type", None)]
    assert "4 conversations" in next(note.found for note in loaded.notes if note.field == "type")


@pytest.mark.parametrize(
    "fields", [{"category": "violence"}, {"image_safe": False}, {"image_safety_label": 15}, {"subcategory": "suicide"}]
)
def test_training_data_about_harm_have_to_say_their_type(read_lines: ReadRecords, fields: dict[str, Any]) -> None:
    loaded = read_lines(llava(("human", "<image>What?"), ("gpt", "No."), image="a.png", **fields))
    assert loaded.samples == () and {problem.field for problem in loaded.broken} == {"type"}


@pytest.mark.parametrize(
    ("turns", "complaint"),
    [
        ([], "[]"),
        ("hello", '"hello"'),
        ([{"from": "gpt", "value": "A."}], "[{"),
        ([{"from": "human", "value": "A?"}, {"from": "robot", "value": "B."}], "a turn of role 'robot'"),
        ([{"from": "human", "value": 7}], '{"from": "human", "value": 7}'),
        (["hello"], '"hello"'),
        ([{"role": "user", "content": [{"type": "audio"}]}], '{"type": "audio"}'),
        ([{"from": "human", "value": "A?"}, {"from": "system", "value": "B."}], "a last turn of role system"),
    ],
)
def test_what_is_no_conversation_is_named(read_lines: ReadRecords, turns: Any, complaint: str) -> None:
    good = llava(("human", "Hi?")) | {"id": "good"}
    loaded = read_lines({"id": "bad", "type": "SSS", "conversations": turns}, good)
    assert [sample.id for sample in loaded.samples] == ["good"]
    (problem,) = loaded.broken
    assert problem.field == "conversations" and complaint in problem.found


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["human", "gpt", "system", "user", "robot"]), st.sampled_from(["", "<image>", "Hi"])),
        max_size=5,
    )
)
def test_whatever_a_conversation_holds_it_loads_or_is_reported(turns: list[tuple[str, str]]) -> None:
    from holisafe.datasets._places import Source
    from holisafe.datasets.holisafe_bench import read_rows

    image = {"bytes": b"any", "path": "a.png"}
    loaded = read_rows([llava(*turns, image=image)], Source("memory", Path("/nowhere")))
    assert (len(loaded.samples) == 1) is not bool(loaded.broken)
    for sample in loaded.samples:
        assert sample.turns[-1].role is Role.USER and "<image>" not in sample.query
        assert len(sample.images) == 1
