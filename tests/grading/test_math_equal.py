import threading
import time

import pytest

from fst_cli.grading import math_equal
from fst_cli.grading.math_equal import equal


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("12", "12", True),
        ("12", "12.0", True),
        ("1200", "1,200", True),
        ("1/2", "0.5", True),
        ("\\frac{1}{2}", "0.5", True),
        ("x^2+1", "1+x^2", True),
        ("7", "8", False),
        ("7", "1/0", False),
        ("7", "seven", False),
        ("7", "", False),
    ],
)
def test_equal_values_are_equal(gold, answer, same):
    verdict = equal(gold, answer)
    assert (verdict.equal, verdict.status) == (same, "ok")


def test_it_works_off_the_main_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(equal("\\frac{1}{2}", "\\frac{2}{4}")))
    thread.start()
    thread.join()
    assert found[0].equal


def test_a_hanging_grader_is_killed_and_the_next_comparison_works():
    equal("x", "y")  # the worker is up
    started = time.monotonic()
    verdict = equal("\\frac{1}{2}", "\\frac{3}{6}", limit=0.0)
    assert (verdict.equal, verdict.status) == (False, "timeout")
    assert time.monotonic() - started < 5
    assert equal("\\frac{1}{2}", "\\frac{3}{6}").equal


def test_a_worker_that_dies_is_an_error_not_a_wrong_answer():
    equal("x", "y")
    math_equal._WORKER._process.kill()
    math_equal._WORKER._process.wait()
    assert equal("\\frac{1}{2}", "\\frac{3}{6}").equal  # a dead worker is replaced before it is asked
