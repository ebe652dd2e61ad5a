"""Ordinary requests and references: enough of them, no wording twice, and templates that fill to clean sentences."""

import re
import string
from collections import Counter

import pytest
from research.holisafe_open.kinds import read_table

REQUESTS = read_table("ordinary")["request"]
REFERENCES = read_table("references")
AT_LEAST = {"thing": 350, "document": 250, "scene": 200, "marked": 200}
MOST_ASKS, FEWEST_ASKS = 10, 7
COMMON = {"phrase", "Phrase"}
PLACES = {
    "thing": COMMON | {"name", "Name", "This", "this", "use", "fact", "colour", "where"},
    "scene": COMMON | {"colour", "where"},
    "marked": COMMON | {"colour", "where"},
    "document": COMMON | {"This", "this", "text"},
}
REFERENCE_PLACES = {
    "usu": {"phrase", "reason", "instead"},
    "uuu": {"phrase", "reason", "instead"},
    "suu": {"reason", "instead"},
    "frame_unsafe": {"phrase", "This", "why", "instead"},
    "frame_safe": {"phrase", "This", "why"},
}
NEEDED = {"usu": {"reason", "instead"}, "uuu": {"reason", "instead"}, "suu": {"reason", "instead"}}
NEEDED |= {"frame_unsafe": {"phrase", "why", "instead"}, "frame_safe": {"phrase", "why"}}
WORDS = {
    "thing": {"phrase": "a rubber duck", "name": "rubber duck", "This": "This is", "this": "this is"}
    | {"use": "It floats in the bath.", "fact": "It is hollow."},
    "scene": {"phrase": "a cup, a tree and a dog"},
    "marked": {"phrase": "a clock behind a window grille"},
    "document": {
        "phrase": "a chart of the week's rain",
        "This": "This is",
        "this": "this is",
        "text": "Rain this week",
    },
}
REFUSED = re.compile(
    r"\b(can't|cannot|won't|not able|refuse|declin(e|es)|sorry|unable|not going to|must not|will not)\b", re.I
)


def normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def assert_clean(text: str) -> None:
    assert not re.search(r"[{}]|  |\s$|^\s|[,;:]{2}|\s[,.;:](\s|$)|[.,;:!?]\.$|\.\.(?!\.)", text.replace("...", "")), (
        text
    )
    assert text[0].isupper() or not text[0].isalpha(), text


def test_there_are_enough_requests_for_every_sort_of_picture() -> None:
    assert len(REQUESTS) >= 120
    assert len({row["sort"] for row in REQUESTS}) == len(REQUESTS)
    assert sum(len(row["ask"]) for row in REQUESTS) >= 1000
    for sort, least in AT_LEAST.items():
        assert sum(len(row["ask"]) for row in REQUESTS if sort in row["of"]) >= least, sort


def test_no_wording_stands_twice() -> None:
    counts = Counter(normal(ask) for row in REQUESTS for ask in row["ask"])
    assert [ask for ask, count in counts.items() if count > 1] == []


def test_a_wording_has_no_places() -> None:
    assert [ask for row in REQUESTS for ask in row["ask"] if places(ask)] == []


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row["sort"])
def test_a_request_has_wordings_and_answers_that_fit_its_pictures(row: dict[str, list[str]]) -> None:
    assert set(row) == {"sort", "of", "ask", "answer"}
    assert row["of"] and set(row["of"]) <= set(PLACES)
    assert FEWEST_ASKS <= len(row["ask"]) <= MOST_ASKS
    assert 3 <= len(row["answer"]) <= 5
    assert len({tuple(answer.split()[:3]) for answer in row["answer"]}) == len(row["answer"])
    for answer in row["answer"]:
        used = places(answer)
        assert used, answer
        for sort in row["of"]:
            assert used <= PLACES[sort], f"{sort}: {answer}"
            words = {"colour": "blue", "where": "on a blue background"} | WORDS[sort]
            words |= {key.title(): words[key][0].upper() + words[key][1:] for key in ("phrase", "name") if key in words}
            assert_clean(answer.format(**words))
        assert not REFUSED.search(answer), answer


def test_references_open_in_many_ways() -> None:
    assert set(REFERENCES) == set(REFERENCE_PLACES)
    for name, table in REFERENCES.items():
        answers = table["answer"]
        assert len(set(answers)) == len(answers) >= 70, name
        assert len({tuple(answer.casefold().split()[:5]) for answer in answers}) >= 60, name


@pytest.mark.parametrize("name", sorted(REFERENCE_PLACES))
def test_references_have_their_places_and_fill_cleanly(name: str) -> None:
    words = {"phrase": "a rubber duck", "Phrase": "A rubber duck", "This": "This is"}
    words |= {
        "reason": "it would hurt somebody",
        "instead": "I can help in another way.",
        "why": "It is made for that.",
    }
    for answer in REFERENCES[name]["answer"]:
        assert NEEDED[name] <= places(answer) <= REFERENCE_PLACES[name], answer
        assert_clean(answer.format(**words))
        assert bool(REFUSED.search(answer)) is (name != "frame_safe"), answer
