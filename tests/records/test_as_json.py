"""Records written as JSON read back as they were; anything else is one error."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.errors import RunError
from holisafe.images import content_hash
from holisafe.records import ImageRef, Judgement, Response, Sample
from holisafe.records.as_json import (
    image_file,
    judgement_from_json,
    judgement_to_json,
    response_from_json,
    response_to_json,
    sample_from_json,
    sample_to_json,
)
from records import strategies


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, ensure_ascii=False).encode())


@given(strategies.samples)
def test_a_sample_reads_back_as_it_was(sample: Sample) -> None:
    again = sample_from_json(through_json(sample_to_json(sample)))
    assert again == sample and again.tags == sample.tags


@given(strategies.responses)
def test_a_response_reads_back_as_it_was(response: Response) -> None:
    assert response_from_json(through_json(response_to_json(response))) == response


@given(strategies.judgements)
def test_a_judgement_reads_back_as_it_was(judgement: Judgement) -> None:
    again = judgement_from_json(through_json(judgement_to_json(judgement)))
    assert again == judgement and again.scores == judgement.scores and again.usage == judgement.usage


def test_an_image_in_memory_is_named_by_its_digest_and_found_in_the_folder(tmp_path: Path) -> None:
    data = b"\x89PNG not decoded here"
    ref = ImageRef("any name", data=data, digest=content_hash(data))
    written = through_json(sample_to_json(Sample.ask("1", (ref,), "?")))
    assert data.hex() not in json.dumps(written)
    (again,) = sample_from_json(written, tmp_path).images
    assert again.path == tmp_path / image_file(ref.digest, data)
    assert (again.root, again.digest, again.key) == (tmp_path, ref.digest, ref.key)


READERS: list[tuple[Callable[[Any], object], dict[str, Any]]] = [
    (sample_from_json, sample_to_json(Sample.ask("1", (ImageRef("a", url="https://example.org"),), "?", "SSS"))),
    (response_from_json, response_to_json(Response("1", "text", "model"))),
]


@pytest.mark.parametrize(("read", "good"), READERS)
@given(data=st.data())
def test_values_of_other_types_are_one_error_or_a_record(
    read: Callable[[Any], object], good: dict[str, Any], data: st.DataObject
) -> None:
    changed = dict(good)
    for name in data.draw(st.lists(st.sampled_from(sorted(good)), max_size=3)):
        changed[name] = data.draw(strategies.json_values)
    try:
        found = read(changed)
    except RunError as error:
        assert "is not as this version writes it" in str(error)
    else:
        assert isinstance(found, Sample | Response)


@pytest.mark.parametrize(
    "change",
    [{"tags": {"category": "kites"}}, {"tags": {"scenario": 7}}, {"options": "AB", "twin": 5}, {"image_labels": ["?"]}],
)
def test_wrong_values_of_a_sample_are_refused(change: dict[str, Any]) -> None:
    good = sample_to_json(Sample.ask("1", (), "?", "SSS"))
    with pytest.raises(RunError):
        sample_from_json(good | change)


def test_huge_numbers_are_refused() -> None:
    good = judgement_to_json(Judgement("1", strategies.JudgeId("a"), strategies.Outcome.REFUSED))
    for change in ({"scores": {"x": 10**400}}, {"usage": {"input": float("inf")}}):
        with pytest.raises(RunError):
            judgement_from_json(good | change)


@given(strategies.samples)
def test_replacing_images_by_themselves_changes_nothing(sample: Sample) -> None:
    if sample.turns:
        assert sample.with_images(sample.images) == sample
    assert replace(sample) == sample
