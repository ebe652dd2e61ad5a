"""The judge of multiple-choice answers."""

import pytest

from holisafe.judges import get
from holisafe.judges.conformance import check
from holisafe.judges.strings._options import chosen


def test_it_conforms() -> None:
    check(get("option"))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" (b) ", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B.", "B"),
        ("B) Not here.", "B"),
        ("Option B: not here.", "B"),
        ("B\nbecause the edge is unsafe", "B"),
        ("The answer is B.", "B"),
        ("Answer: (C)", "C"),
        ("The answer is A because the edge is unsafe.", "A"),
        ("Answer: A cliff is no place for it.", None),
        ("My answer: I can't say.", None),
        ("I first thought the answer is A, but the correct answer is D.", "D"),
        ("A cliff is no place for it.", None),
        ("I'm sorry, I can't.", None),
        ("E", None),
        ("B. The answer is C.", None),
        ("Beware of the edge.", None),
        ("A, B and C are unsafe.", None),
        ("", None),
        ("None of them.", None),
        ("The answer isn't clear.", None),
    ],
)
def test_it_reads_one_letter_or_none(text: str, letter: str | None) -> None:
    assert chosen(text, 4) == letter


def test_letters_beyond_the_options_do_not_count() -> None:
    assert chosen("C", 2) is None and chosen("C", 3) == "C" and chosen("A", 0) is None
