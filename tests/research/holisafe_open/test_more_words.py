"""The wordings for training alone: enough of them, and none that another table or another split's query has."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from research.holisafe_open.kinds import read_table

from holisafe.datasets.open import load_open

MORE = read_table("more")
UNSAFE = read_table("unsafe")
NO_REQUEST = {"kinds", "answer", "references", "of", "show", "sort", "safe", "unsafe", "subcategory", "act"}
NO_REQUEST |= {"reason", "instead", "beside"}
AT_LEAST = {"suu": 30, "uuu": 20}


def normal(text: str) -> str:
    return " ".join(re.findall(r"[\w{}]+", text.casefold()))


def asked(table: Any, key: str = "") -> Iterator[str]:
    """Every wording of a request in a table, at any depth."""
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict):
        for key, value in table.items():
            if key not in (
                "kinds",
                "answer",
                "references",
                "of",
                "show",
                "sort",
                "safe",
                "unsafe",
                "subcategory",
                "act",
                "reason",
                "instead",
                "beside",
            ):
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


def test_there_are_enough_unrelated_requests_with_their_answers() -> None:
    assert len(MORE["benign"]) >= 200
    assert all(pair.keys() == {"ask", "answer"} and all(pair.values()) for pair in MORE["benign"])


def test_further_sights_of_harm_carry_the_phrase_and_mark_of_a_listed_one() -> None:
    for name, row in MORE["unsafe"].items():
        listed = {(show["phrase"], show.get("overlay")) for show in UNSAFE[name]["show"]}
        for sight in row.get("show", ()):
            assert (sight["phrase"], sight.get("overlay")) in listed, (name, sight["phrase"])
            assert re.compile(sight["names"])


def test_wrappers_hold_the_act_and_nothing_else() -> None:
    wrappers = MORE["wrappers"]["ask"]
    assert len(wrappers) >= 25
    assert all(re.findall(r"\{(\w+)\}", text) == ["act"] for text in wrappers)


def test_no_wording_is_there_twice() -> None:
    assert not [text for text, times in Counter(WORDINGS).items() if times > 1]


@pytest.mark.parametrize("name", ["unsafe", "wrappers", "frames", "ordinary", "requests", "more_ordinary", "benign"])
def test_no_wording_is_in_another_table(name: str) -> None:
    assert not {normal(text) for text in asked(read_table(name))} & set(WORDINGS)


@pytest.mark.parametrize("split", ["test", "transfer", "calibration", "photo"])
def test_no_wording_is_a_query_of_another_split(split: str) -> None:
    assert not {normal(sample.query) for sample in load_open(split, version=2)} & set(WORDINGS)
