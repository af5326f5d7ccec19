import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.grading.values import NoValueError, as_json, difference, final_value, parse_value

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("It is\n```json\n[1, 2]\n```", [1, 2]),
        ("```python\n(1, 'a')\n```", [1, "a"]),
        ('\\boxed{{"a": 1}}', {"a": 1}),
        ("<answer>true</answer>", True),
        ("Thinking\n[1]", [1]),
        ("```\n1\n```\n```\n2\n```", 2),
        ("<think>```\n1\n```</think>\\boxed{'x'}", "x"),
        ("\\boxed{None}", None),
        ("\\boxed{{1: 2}}", {"1": 2}),
    ],
)
def test_the_last_marked_value_counts(text, value):
    assert final_value(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "it is 7 I think", "<think>\\boxed{7}", "\\boxed{}", "```\nseven\n```", "\\boxed{NaN}", "\\boxed{{1, 2}}",
        "\\boxed{__import__('os')}", "\\boxed{" + "[" * 9000 + "]" * 9000 + "}", "\\boxed{" + "9" * 10**6 + "}",
        "\\boxed{7} or\n```\nno value\n```", "<answer>" + "-" * 15000 + "1</answer>", "\\boxed{1e999}",
    ],
)  # fmt: skip
def test_what_is_no_value_is_said_in_words(text):
    started = time.process_time()
    with pytest.raises(NoValueError) as caught:
        final_value(text)
    assert 5 < len(str(caught.value)) < 300 and time.process_time() - started < 2


@given(JSON)
def test_every_json_value_is_itself_whether_written_as_json_or_as_python(value):
    for written in (json.dumps(value), repr(value)):
        assert difference(value, parse_value(written)) is None
    assert difference(value, final_value(f"So:\n```\n{json.dumps(value)}\n```")) is None


@given(JSON, JSON)
def test_two_values_differ_exactly_where_their_json_does(one, other):
    found = difference(one, other)
    if json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
        assert found is None
    elif found is None:  # 3 and 3.0, or fractions within the tolerance
        assert any(char.isdigit() for char in json.dumps(one))


@pytest.mark.parametrize(
    ("right", "given", "said"),
    [
        ([1, 2, 3], [1, 2, 4], "At [2]: 4 is not right; an int was expected."),
        ([1, 2], [1, 2, 3], "a list of 3 items is not right; 2 were expected."),
        ({"a": [1, "x"]}, {"a": [1, 5]}, "At ['a'][1]: 5 is not right; a string was expected."),
        ({"a": 1}, {}, "a key is missing."),
        ({}, {"b": 1}, "the key 'b' should not be there."),
        (True, 1, "1 is not right; a bool was expected."),
        (1, True, "true is not right; an int was expected."),
        (0.5, "0.5", '"0.5" is not right; a float was expected.'),
    ],
)
def test_the_first_difference_is_named_without_the_right_value(right, given, said):
    assert difference(right, given) == said


def test_the_right_value_is_said_where_that_is_wanted():
    assert "expected: 3" in difference([1, 3], [1, 4], reveal=True)


@pytest.mark.parametrize(
    ("right", "given", "same"),
    [(3, 3.0, True), (0.1 + 0.2, 0.3, True), (10**400, 1.5, False), (10**17, 10**17 + 1, False)],
)
def test_numbers_are_compared_as_numbers(right, given, same):
    assert (difference(right, given) is None) is same


def test_a_set_is_no_json():
    with pytest.raises(ValueError, match="set"):
        as_json({1})
