import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.data.text import LONGEST, cut, visible, without_credentials


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = visible(text)
    assert all(character.isprintable() or character in "\n\t" or ord(character) > 0x9F for character in shown)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)


def test_plain_text_is_left_as_it_is():
    text = "naïve 日本語 [bold] \t<b>\n"
    assert visible(text) == text
    assert visible("\x1b[31mred\x00\u202e") == "␛[31mred␀‹U+202E›"


def test_long_text_is_cut_with_a_note():
    assert cut("x" * LONGEST) == "x" * LONGEST
    assert cut("x" * (LONGEST + 5)).endswith("… (5 more characters)")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('url = "https://me:key@host/v1"', 'url = "https://…@host/v1"'),
        ("https://host/a@b", "https://host/a@b"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_credentials_in_a_url_are_not_shown(text, shown):
    assert without_credentials(text) == shown
