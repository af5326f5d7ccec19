"""How fast answers and programs are graded: python tests/bench/grading.py [SECONDS]

Each figure is the rate over SECONDS (default 4) after one warm-up.
"""

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fst_cli.grading import math_equal, sandbox
from fst_cli.grading.program import Program, run_scripts, worker_code
from fst_cli.grading.program_tests import assert_tests, call_tests
from fst_cli.grading.sandbox import Limits, Sandbox

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
LIMITS = Limits()
SOURCE = "def double(x):\n    return 2 * x\n"
CALLS = [("double", [2], 4), ("double", ["a"], "aa"), ("double", [[1]], [1, 1])]
CHECK = "def check(candidate):\n    for x in range(3):\n        assert candidate(x) == 2 * x\n"


def rate(work: Callable[[], object], threads: int = 1) -> float:
    """How often a second `work` is done by so many threads."""
    work()
    started = time.perf_counter()

    def loop(_: int) -> int:
        count = 0
        while time.perf_counter() - started < seconds:
            work()
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(loop, range(threads)))
    return done / (time.perf_counter() - started)


def start(level: sandbox.Level) -> str:
    """Milliseconds of a start and an end under this level, or why it is not here."""
    if said := sandbox.probe(level):
        return said
    times = []
    for _ in range(15):
        begun = time.perf_counter()
        Sandbox(worker_code(), LIMITS, level).close()
        times.append(1000 * (time.perf_counter() - begun))
    return f"{statistics.median(times):.0f} ms (fastest {min(times):.0f})"


def endless() -> None:
    """A program that loops, with a limit of one second."""
    with Program("while True: pass", Limits(wall=1.0)) as program:
        assert program.loaded.status == "timeout"


for name in ("bubblewrap", "namespaces", "none"):
    print(f"start and end under {name}: {start(name)}")
print(f"programs under {sandbox.isolation()}:")
for threads in (1, 2):
    calls = rate(lambda: call_tests(SOURCE, CALLS, LIMITS), threads)
    asserts = rate(lambda: assert_tests(SOURCE, [CHECK], LIMITS, entry="double"), threads)
    print(
        f"  {threads} thread(s): {calls:.1f}/s with three call tests, {asserts:.1f}/s with a check in a second sandbox"
    )
scripts = rate(lambda: list(run_scripts("print(2 * int(input()))", ["2"] * 20, LIMITS)))
print(f"  scripts: {20 * scripts:.0f} inputs/s, 20 a program")
begun = time.perf_counter()
endless()
print(f"  while True under a limit of 1 s: {time.perf_counter() - begun:.2f} s")
plain = rate(lambda: math_equal.equal("12", "12.0"))
print(f"math: {plain:.0f}/s plain numbers")
for threads in (1, 2):
    through = rate(lambda: math_equal.equal("\\frac{1}{2}", "\\frac{3}{6}"), threads)
    print(f"math: {through:.0f}/s through math-verify, {threads} thread(s)")
