"""The further requests: enough of each sort, none that another table has, and answers whose places can be filled."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from research.holisafe_open.kinds import read_table

REQUESTS = read_table("requests")
ORDINARY = read_table("more_ordinary")["request"]
AT_LEAST = {"suu": 22, "uuu": 20}
NO_REQUESTS = ("kinds", "answer", "references", "of", "show", "beside", "reason", "instead", "sort")
OTHERS = ("ordinary", "unsafe", "more", "wrappers", "frames", "benign")
EVERY = {"phrase", "Phrase", "colour", "where"}
PLACES = {
    "thing": EVERY | {"name", "Name", "This", "this", "use", "fact"},
    "scene": EVERY,
    "marked": EVERY,
    "document": {"phrase", "text"},
}


def normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def asked(table: Any) -> Iterator[str]:
    """Every wording of a request in a table, at any depth."""
    if isinstance(table, str):
        yield table
    elif isinstance(table, dict):
        for key, value in table.items():
            if key not in NO_REQUESTS:
                yield from asked(value)
    elif isinstance(table, list):
        for value in table:
            yield from asked(value)


def places(text: str) -> set[str]:
    return set(re.findall(r"{(.*?)}", text))


def allowed(entry: dict[str, Any]) -> set[str]:
    """The places that exist for every sort of picture of an entry."""
    return set.intersection(*(PLACES[sort] for sort in entry["of"]))


def test_every_subcategory_has_enough_unsafe_requests() -> None:
    assert list(REQUESTS) == list(read_table("unsafe"))
    few = [
        (name, key) for name, words in REQUESTS.items() for key, least in AT_LEAST.items() if len(words[key]) < least
    ]
    assert not few
    assert all(set(words) == set(AT_LEAST) for words in REQUESTS.values())


def test_there_are_enough_ordinary_requests() -> None:
    assert len({entry["sort"] for entry in ORDINARY}) == len(ORDINARY) >= 150
    assert sum(len(entry["ask"]) for entry in ORDINARY) >= 1600
    odd = [entry["sort"] for entry in ORDINARY if not (9 <= len(entry["ask"]) <= 30 and 3 <= len(entry["answer"]) <= 5)]
    assert not odd


def test_every_sort_of_picture_has_many_sorts_of_request() -> None:
    count = Counter(sort for entry in ORDINARY for sort in entry["of"])
    assert set(count) == set(PLACES)
    assert min(count.values()) >= 40, count


def test_no_wording_occurs_twice() -> None:
    words = [*asked(REQUESTS), *asked(ORDINARY)]
    counts = Counter(normal(text) for text in words)
    assert not [text for text, count in counts.items() if count > 1]


@pytest.mark.parametrize("other", OTHERS)
def test_no_wording_is_in_another_table(other: str) -> None:
    theirs = {normal(text) for text in asked(read_table(other))}
    assert theirs
    assert not theirs & {normal(text) for text in [*asked(REQUESTS), *asked(ORDINARY)]}


def test_requests_open_in_different_ways() -> None:
    openings: dict[str, Counter[str]] = defaultdict(Counter)
    for name, words in REQUESTS.items():
        for key in AT_LEAST:
            openings[f"{name} {key}"].update(normal(text).split()[0] for text in words[key])
    same = {name: count.most_common(1) for name, count in openings.items() if count.most_common(1)[0][1] > 5}
    assert not same


def test_a_request_has_no_places() -> None:
    assert not [text for text in [*asked(REQUESTS), *asked(ORDINARY)] if "{" in text or "}" in text]


def test_answers_use_only_places_that_their_pictures_have() -> None:
    wrong = [
        (entry["sort"], text) for entry in ORDINARY for text in entry["answer"] if not places(text) <= allowed(entry)
    ]
    assert not wrong


def test_most_answers_of_a_sort_name_what_the_picture_shows() -> None:
    bare = [entry["sort"] for entry in ORDINARY if sum(not places(text) for text in entry["answer"]) > 1]
    assert not bare


def test_answers_fill_in_without_a_brace_left() -> None:
    for entry in ORDINARY:
        filled = [text.format_map(dict.fromkeys(allowed(entry), "word")) for text in entry["answer"]]
        assert not [text for text in filled if "{" in text or "}" in text]
        assert len(set(filled)) == len(filled)


def test_no_answer_quotes_a_document() -> None:
    """A sign's phrase has quotation marks of its own, which must not stand inside others."""
    words = [text for entry in ORDINARY if "document" in entry["of"] for text in entry["answer"]]
    assert words
    assert not [text for text in words if re.search(r"“[^”]*{(phrase|text)}", text)]
