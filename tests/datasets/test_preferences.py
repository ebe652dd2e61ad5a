"""Preference pairs: a request, a better answer, and a worse one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holisafe.datasets import read
from holisafe.datasets.export import export_holisafe, export_parquet
from holisafe.records import Role
from holisafe.taxonomy import Combination

PAIR = {"prompt": "What is it?", "images": ["a.png", "b.png"], "chosen": "A square.", "rejected": "A dog."}


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def folder(tmp_path: Path, png: bytes) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(png + name.encode())
    return tmp_path


def test_a_line_with_prompt_images_chosen_and_rejected_is_a_pair(folder: Path) -> None:
    loaded = read(write(folder, PAIR, {**PAIR, "images": []}))
    one, two = loaded.samples
    assert (one.id, two.id) == ("pair-0", "pair-1")
    assert (one.query, one.reference, one.rejected) == ("What is it?", "A square.", "A dog.")
    assert [image.key for image in one.images] == ["a.png", "b.png"] and two.images == ()
    assert one.combination is one.expected is None and not loaded.broken


def test_what_the_data_say_besides_is_kept(folder: Path) -> None:
    own = {"id": "x", "type": "SSS", "category": "privacy", "subcategory": None, "query": PAIR["prompt"]}
    (sample,) = read(write(folder, {name: value for name, value in PAIR.items() if name != "prompt"} | own)).samples
    assert (sample.id, sample.combination, sample.rejected) == ("x", Combination.SSS, "A dog.")


def test_turns_of_trl_are_read(folder: Path) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
    answers = {name: [{"role": "assistant", "content": PAIR[name]}] for name in ("chosen", "rejected")}
    (sample,) = read(write(folder, {**PAIR, "prompt": prompt, **answers})).samples
    assert [turn.role for turn in sample.turns] == [Role.SYSTEM, Role.USER]
    assert (sample.reference, sample.rejected, len(sample.images)) == ("A square.", "A dog.", 2)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rejected": None}, "rejected"),
        ({"rejected": " "}, "rejected"),
        ({"chosen": None}, "chosen"),
        ({"rejected": "A square. "}, "rejected"),
        ({"prompt": None}, "query"),
        ({"chosen": [{"role": "user", "content": "?"}]}, "chosen"),
        ({"chosen": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "?"}]}, "chosen"),
        ({"rejected": 3}, "rejected"),
    ],
)
def test_a_pair_that_is_none_is_broken_and_named(folder: Path, change: dict[str, Any], field: str) -> None:
    loaded = read(write(folder, PAIR, {**PAIR, **change}))
    assert [sample.id for sample in loaded.samples] == ["pair-0"]
    assert [(problem.index, problem.field) for problem in loaded.broken] == [(1, field)]


def test_both_formats_of_export_keep_pairs(folder: Path, tmp_path: Path) -> None:
    samples = read(write(folder, PAIR)).samples
    for out in (export_holisafe(samples, tmp_path / "json"), export_parquet(samples, tmp_path / "parquet")):
        (found,) = read(out.parent).samples
        assert (found.reference, found.rejected, found.query) == ("A square.", "A dog.", "What is it?")
