import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe._printable import encodable, is_plain_line

ANY_TEXT = st.text(st.characters(categories=None))


@given(ANY_TEXT)
def test_any_text_becomes_encodable_and_whole_text_stays(text: str) -> None:
    found = encodable(text)
    found.encode()
    if "\ufffd" not in found:
        assert found.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_a_half_character_is_marked_and_two_halves_are_joined() -> None:
    assert encodable("a\ud83d.") == "a\ufffd."
    assert encodable("\ud83d\ude00") == "\U0001f600"


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\x1b[2J", "\ud83d", "a\u2028b"])
def test_ids_of_several_lines_or_with_control_characters_are_not_plain(text: str) -> None:
    assert not is_plain_line(text)


@pytest.mark.parametrize("text", ["", "a b", "é", "日本", "a\u00a0b"])
def test_other_text_is_plain(text: str) -> None:
    assert is_plain_line(text)
