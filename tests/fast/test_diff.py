import re

from hypothesis import given
from hypothesis import strategies as st

from fst_cli.data.records import Example
from fst_cli.fast.diff import example_changes, marked, word_diff
from fst_cli.fast.population import make_prompt

words = st.lists(st.sampled_from(["add", "box", "it.", "日本語", "\n", "  x", "y\n\n"]), max_size=12).map(" ".join)


@given(words, words)
def test_both_texts_can_be_read_from_the_diff(before, after):
    runs = word_diff(before, after)
    assert "".join(text for kind, text in runs if kind != "removed") == after
    assert "".join(text for kind, text in runs if kind != "added") == before or re.sub(r"\s", "", before) == re.sub(
        r"\s", "", "".join(text for kind, text in runs if kind != "added")
    )


def test_a_changed_word_is_marked_and_the_rest_stands():
    assert marked(word_diff("Add the numbers now.", "Add both numbers now.")) == "Add[- the-]{+ both+} numbers now."


def test_examples_that_came_and_went_are_told():
    one, two = (Example(question=q, reply="r", problem_id=q) for q in "ab")
    found = list(example_changes(make_prompt("", [one]), make_prompt("", [two])))
    assert found == [("removed", "a: a"), ("added", "b: b")]
