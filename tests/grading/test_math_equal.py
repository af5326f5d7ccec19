import threading
import time

import pytest

from fst_cli.grading import math_equal
from fst_cli.grading.math_equal import Verdict, equal


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


@pytest.mark.parametrize(
    "answer",
    [
        "10^{10^{10}}",
        "9^9^9^9",
        "2^{99999}",
        "9**9**9",
        "x^{10^{10}}",
        "10^{ 10 ^ 10}",
        "3!!!",
        "99999!",
        "7^{ 1000000 }",
    ],
)
def test_an_evaluation_without_end_is_not_begun(answer):
    started = time.monotonic()
    assert equal("18", answer) == Verdict(False, "ok")
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    ("gold", "answer"), [("2^{2011}", "2^{2011}+0"), ("x^{2}y^{3}", "y^3x^2"), ("5!", "120"), ("2^{10}", "1024")]
)
def test_ordinary_powers_and_factorials_are_compared(gold, answer):
    assert equal(gold, answer).equal


def test_a_hanging_grader_is_killed_and_the_next_comparison_works():
    equal("x", "y")  # the worker is up
    started = time.monotonic()
    verdict = equal("10^{10^{9}}", "10^{10^{10}}", limit=0.3)
    assert (verdict.equal, verdict.status) == (False, "timeout")
    assert time.monotonic() - started < 5
    assert equal("\\frac{1}{2}", "\\frac{3}{6}").equal


def test_a_dead_worker_is_replaced_before_it_is_asked():
    equal("x", "y")
    for worker in math_equal._POOL.all:
        if worker._process is not None:
            worker._process.kill()
            worker._process.wait()
    assert equal("\\frac{1}{2}", "\\frac{3}{6}").equal


def test_a_worker_that_dies_in_a_comparison_is_an_error_not_a_wrong_answer(monkeypatch):
    worker = math_equal._Worker()
    monkeypatch.setattr(worker, "_started", lambda: (_ for _ in ()).throw(BrokenPipeError))
    assert worker.compare("x", "y", 1.0) == math_equal.Verdict(False, "error")


def test_several_threads_have_workers_of_their_own():
    pool, found = math_equal._Pool(2), []
    threads = [
        threading.Thread(target=lambda n=n: found.append(pool.compare(f"x+{n}", f"{n}+x", 60.0).equal))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6
    assert 1 <= len(pool.all) <= 2 and len(pool.idle) == len(pool.all)
    pool.stop()


@pytest.mark.parametrize(
    "answer",
    [
        "x" * 1_000_000,
        "9" * 1_000_000,
        "{" * 1999,
        "(" * 999 + "x" + ")" * 999,
        "\\frac{1}{" * 180 + "2" + "}" * 180,
        "\\sqrt{" * 250 + "2" + "}" * 250,
        "9^{9^{9^{9}}}",
        "\x00",
        "\ud800",
        "x\ny",
    ],
    ids=lambda answer: f"{answer[:12]!r}x{len(answer)}",
)
def test_any_answer_gets_a_verdict_in_bounded_time(answer):
    started = time.monotonic()
    verdict = equal("\\frac{1}{3}", answer, limit=0.5)
    assert not verdict.equal
    assert time.monotonic() - started < 20  # a killed worker has to start anew
    assert verdict.status in ("ok", "timeout", "error")


def test_an_answer_too_long_for_an_answer_is_wrong_without_a_worker(monkeypatch):
    monkeypatch.setattr(math_equal, "_POOL", None)
    assert equal("\\frac{1}{3}", "x" * 2001) == math_equal.Verdict(False)
