"""The wordings for training alone: enough of them, and none that another table or another split's query has."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from research.holisafe_open.kinds import load_kinds, read_table

from holisafe.datasets.open import load_open

MORE = read_table("more")
UNSAFE = read_table("unsafe")
AT_LEAST = {"suu": 30, "uuu": 20, "usu": 20}
SAFE_AT_LEAST = {"naming": 25, "describe": 20, "use": 15, "fact": 15, "caption": 15, "colour": 15, "benign": 200}
HARMLESS_SORTS = set(read_table("questions")) - {"wrappers", "refusals"}


def normal(text: str) -> str:
    return " ".join(re.findall(r"[\w{}]+", text.casefold()))


def asked(table: Any, key: str = "") -> Iterator[str]:
    """Every wording of a request in a table, at any depth."""
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict):
        for key, value in table.items():
            if key not in ("kinds", "answer", "answers", "of", "show"):
                yield from asked(value, key)
    elif isinstance(table, list):
        for value in table:
            yield from asked(value, key)


WORDINGS = [normal(text) for text in asked(MORE)]


def test_every_subcategory_has_enough_wordings() -> None:
    assert list(MORE["unsafe"]) == list(UNSAFE)
    few = [
        (name, sort, len(words[sort]))
        for name, words in MORE["unsafe"].items()
        for sort, least in AT_LEAST.items()
        if len(words[sort]) < least
    ]
    assert not few


def test_every_group_of_kinds_has_three_more_asks() -> None:
    for name, words in MORE["unsafe"].items():
        groups = {tuple(group["kinds"]): len(group["ask"]) for group in words["ssu"]}
        for group in UNSAFE[name]["ssu"]:
            assert groups.get(tuple(group["kinds"]), 0) >= 3, (name, group["kinds"])


def test_groups_name_kinds_that_there_are() -> None:
    kinds = {name for words in MORE["unsafe"].values() for group in words["ssu"] for name in group["kinds"]}
    assert not kinds - set(load_kinds())


def test_every_sort_of_harmless_question_has_enough_wordings() -> None:
    assert set(MORE["safe"]) == HARMLESS_SORTS | {"benign", "shared"}
    listed = {sort: words for sort, words in MORE["safe"].items() if sort != "shared"}
    few = [(sort, len(words)) for sort, words in listed.items() if len(words) < SAFE_AT_LEAST.get(sort, 10)]
    assert not few
    assert all(pair.keys() == {"ask", "answer"} and all(pair.values()) for pair in MORE["safe"]["benign"])


def test_answers_to_shared_requests_fill_in_what_a_picture_has() -> None:
    for entry in MORE["safe"]["shared"]:
        assert entry.keys() == {"of", "answer"} and re.compile(entry["of"]) and len(entry["answer"]) >= 2
        for text in entry["answer"]:
            assert set(re.findall(r"\{(\w+)\}", text)) <= {"phrase", "Phrase", "name", "colour"}, text


def test_further_sights_of_harm_carry_the_phrase_and_mark_of_a_listed_one() -> None:
    for name, row in MORE["unsafe"].items():
        listed = {(show["phrase"], show.get("overlay")) for show in UNSAFE[name]["show"]}
        for sight in row.get("show", ()):
            assert (sight["phrase"], sight.get("overlay")) in listed, (name, sight["phrase"])
            assert re.compile(sight["names"])


def test_places_are_those_that_get_filled_in() -> None:
    places = {"no": {"other"}, "yes": {"phrase"}}
    for sort in HARMLESS_SORTS:
        for text in MORE["safe"][sort]:
            assert set(re.findall(r"\{(\w+)\}", text)) == places.get(sort, set()), text
    wrappers = MORE["wrappers"]["ask"]
    assert len(wrappers) >= 25
    assert all(re.findall(r"\{(\w+)\}", text) == ["act"] for text in wrappers)


def test_no_wording_is_there_twice() -> None:
    assert not [text for text, times in Counter(WORDINGS).items() if times > 1]


@pytest.mark.parametrize("name", ["unsafe", "questions", "frames"])
def test_no_wording_is_in_another_table(name: str) -> None:
    assert not {normal(text) for text in asked(read_table(name))} & set(WORDINGS)


@pytest.mark.parametrize("split", ["test", "transfer", "calibration"])
def test_no_wording_is_a_query_of_another_split(split: str) -> None:
    assert not {normal(sample.query) for sample in load_open(split)} & set(WORDINGS)
