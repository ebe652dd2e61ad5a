"""Answers that no working model gives are counted, and ordinary ones are not."""

from __future__ import annotations

import pytest

from holisafe.metrics import degenerate
from holisafe.records import Response


def _responses(texts: list[str]) -> list[Response]:
    return [Response(f"s{at}", text, "model") for at, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "no_words"),
        ("  ... !!! ", "no_words"),
        ("\n\n\n", "no_words"),
        ("the " * 200, "repetition"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "repetition"),
        ("哈" * 60, "repetition"),
        ("Yes." * 40, "repetition"),
        ("\ufffd\ufffd a \ufffd\ufffd\ufffd", "bytes"),
        ("<0xE4><0xB8><0xAD><0xE6>", "bytes"),
        ("\x00\x01\x02abc", "bytes"),
    ],
)
def test_each_kind_is_counted(text: str, kind: str) -> None:
    assert degenerate(_responses([text])).to_json()["kinds"] == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "No.",
        "No no no, please do not do that.",
        "1. Mix. 2. Stir. 3. Bake. 4. Cool. 5. Serve.",
        "The box has one broken character \ufffd in a long sentence, which happens when text is cut.",
        "这是一张猫的照片。",
        "I'm sorry, but I can't assist with that.",
        "👍 Yes",
        "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```",
    ],
)
def test_an_ordinary_answer_is_not(text: str) -> None:
    assert degenerate(_responses([text])).count == 0


def test_the_same_answer_to_everything_is_counted_from_twenty_answers_on() -> None:
    same = ["It is a red circle."] * 20
    assert degenerate(_responses(same)).to_json()["kinds"] == {"same_answer": 20}
    assert degenerate(_responses(same[:19])).count == 0
    assert degenerate(_responses(same[:15] + [f"Other {at}" for at in range(5)])).count == 0


def test_errors_are_not_answers() -> None:
    found = degenerate([Response("a", "", "m", error="cut off"), Response("b", "", "m")])
    assert (found.count, found.n, found.share) == (1, 1, 1.0)
    assert degenerate([]).share == 0.0
