import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.grading.arithmetic_check import first_wrong_step
from fst_cli.tasks import arithmetic


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("First 12*3 = 36, then 36 + 5 = 42.", "36 + 5 = 42"),
        ("12 × 3 = 35", "12 × 3 = 35"),
        ("$12 \\times 12 = 143$", "12 \\times 12 = 143"),
        ("2+3*4=20", "2+3*4=20"),
        ("x = 3 + 4 = 8", "3 + 4 = 8"),
        ("10/3=4", "10/3=4"),
        ("10/3 = 3.33 and 10/4 = 2.5", None),
        ("7+8=15 carry 1", None),
        ("x+3=4, 3x + 4 = 7, 2^3+1=9, (1+2)*3=9", None),
        ("1/0=3", None),
        ("9*2 = $18", None),
        ("5+5=10%", None),
        ("3+5 = 7+1 = 8", None),
        ("3+4 = 7.5 = 8", "3+4 = 7.5"),
        ("", None),
    ],
)
def test_the_first_false_equation_of_plain_numbers_is_named(text, step):
    assert first_wrong_step(text) == step


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_true_working_is_never_called_wrong(seed, difficulty):
    _, steps = arithmetic.draw(random.Random(seed), difficulty)
    assert first_wrong_step(arithmetic.worked(steps)) is None


@pytest.mark.parametrize(
    "text", ["1" * 10**6, "1+" * 10**5, "1+1=" * 10**5, "9" * 30 + "*9" * 9999 + "=1", " " * 10**6]
)
def test_hostile_text_takes_no_time(text):
    started = time.process_time()
    first_wrong_step(text)
    assert time.process_time() - started < 2  # a hang, not a speed


@given(st.text(alphabet="0123456789+-*/=., x\\timescdot", max_size=80))
def test_any_text_gives_a_step_or_none(text):
    step = first_wrong_step(text)
    assert step is None or "=" in step
