import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.grading.answers import last_boxed


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("\\boxed{7}", "7"),
        ("\\boxed{1} and \\boxed{ 2 }", "2"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{1} then \\boxed{2", "1"),
        ("<think>\\boxed{1}</think>done", None),
        ("\\boxed{}", ""),
        ("boxed{1}", None),
        ("", None),
    ],
)
def test_the_last_closed_box_counts(text, box):
    assert last_boxed(text) == box


@given(st.text(alphabet="\\boxed{}1 <think>/", max_size=60))
def test_any_text_gives_a_box_or_none(text):
    box = last_boxed(text)
    assert box is None or box.count("{") == box.count("}")
