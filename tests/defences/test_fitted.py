"""Which samples defences learn from, and folders that do not belong to the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from defences.directions import fitted, samples, tiny
from holisafe.defences import fit, wrap
from holisafe.defences._directions import texts_alone, whole_requests
from holisafe.errors import DataError, DefenceError
from holisafe.records import Sample
from models.engine.pictures import WIDE

LEARNING = ["shiftdc", "mars", "refusal-direction"]


@pytest.mark.parametrize("name", LEARNING)
def test_what_was_learned_of_another_model_is_refused(name: str) -> None:
    with pytest.raises(DefenceError, match="was fitted on another model"):
        wrap(tiny("gemma3"), f"{name}:{fitted(name)}")


@pytest.mark.parametrize("name", LEARNING)
def test_without_a_folder_the_command_is_named(name: str) -> None:
    with pytest.raises(DefenceError, match=f"holisafe defence fit {name} MODEL --out DIR"):
        wrap(tiny("llava"), name)


def test_the_folder_of_another_defence_is_refused() -> None:
    with pytest.raises(DefenceError, match=r"defence: found 'mars', expected 'shiftdc'"):
        wrap(tiny("llava"), f"shiftdc:{fitted('mars')}")


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    for file in fitted("mars").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "parts.safetensors").write_bytes(b"\0" + (tmp_path / "parts.safetensors").read_bytes()[1:])
    with pytest.raises(DefenceError, match="the file is damaged"):
        wrap(tiny("llava"), f"mars:{tmp_path}")


def test_the_record_says_of_what_and_on_what_it_was_fitted() -> None:
    record = json.loads((fitted("shiftdc") / "defence.json").read_text())
    assert (record["defence"], record["settings"]["alpha"]) == ("shiftdc", 1.0)
    assert len(record["base"]) == len(record["parts_sha256"]) == 64
    assert "fitted" not in record["settings"]


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.filterwarnings("ignore:.*fewer than the 160")
def test_too_few_samples_are_counted(name: str, tmp_path: Path) -> None:
    with pytest.raises(DefenceError, match=r"hold 7 harmless and 1 harmful (texts|requests); at least 5 of each"):
        fit(name, tiny("llava"), samples()[:8], tmp_path)


def test_a_defence_that_learns_nothing_is_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(DefenceError, match="ecso learns nothing"):
        fit("ecso", tiny("llava"), samples(), tmp_path)


def many(count: int) -> list[Sample]:
    return [Sample.ask(f"{kind}{at}", [WIDE], f"{kind} {at}", kind) for kind in ("SSS", "SUU") for at in range(count)]


def test_128_and_32_of_each_kind_are_taken_where_there_are_that_many() -> None:
    for classes in (whole_requests(many(200)), texts_alone(many(200))):
        found = [classes.harmless, classes.harmful, classes.harmless_validation, classes.harmful_validation]
        assert [len(each) for each in found] == [128, 128, 32, 32]
        assert not set(found[0]) & set(found[2]) and not set(found[1]) & set(found[3])


def test_fewer_are_shared_out_and_warned_of() -> None:
    with pytest.warns(UserWarning, match="10 harmless and 10 harmful requests, fewer than the 160"):
        classes = whole_requests(many(10))
    assert (len(classes.harmful), len(classes.harmful_validation)) == (8, 2)


@pytest.mark.filterwarnings("ignore:.*fewer than the 160")
def test_texts_that_are_harmless_alone_are_not_taken_for_harmful() -> None:
    joint = [Sample.ask(f"{kind}{at}", [WIDE], f"{kind} {at}", kind) for kind in ("SSU", "USU") for at in range(9)]
    classes = texts_alone([*samples(), *joint])
    texts = [each.turns[0].text for each in (*classes.harmful, *classes.harmful_validation)]
    assert len(texts) == 7 and all("!" in text for text in texts)
    assert len(whole_requests([*samples(), *joint]).harmful) == 20


def test_a_sample_that_says_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="does not say what is right"):
        whole_requests([replace(samples()[0], expected=None)])


@pytest.mark.parametrize("name", LEARNING)
def test_parts_that_are_missing_of_another_shape_or_not_finite_are_refused(name: str, tmp_path: Path) -> None:
    import hashlib

    from safetensors.torch import load, save

    record = json.loads((fitted(name) / "defence.json").read_text())
    parts = load((fitted(name) / "parts.safetensors").read_bytes())
    damaged = {
        "is missing": {key: value for key, value in parts.items() if key != "direction"},
        "holds values that are not finite": {**parts, "direction": parts["direction"] * float("nan")},
        "has the shape": {**parts, "direction": parts["direction"][..., :-1].clone()},
    }
    for said, kept in damaged.items():
        data = save(kept)
        (tmp_path / "parts.safetensors").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / "defence.json").write_text(json.dumps(record | {"parts_sha256": digest}))
        with pytest.raises(DefenceError, match=f"direction {said}"):
            wrap(tiny("llava"), f"{name}:{tmp_path}")
