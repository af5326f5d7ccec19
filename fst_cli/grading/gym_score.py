"""reasoning-gym's own score of an answer, in the sandbox.

Some of its graders hand the answer to sympy, which evaluates it as Python. So they run where nothing can be reached,
and for those data sets an answer that is code rather than mathematics scores 0: in the grader's own process it could
claim any score.
"""

import atexit
import hashlib
import queue
from pathlib import Path
from typing import Any

from fst_cli.data.errors import RunError
from fst_cli.grading.math_equal import explodes
from fst_cli.grading.program import Outcome, Program
from fst_cli.grading.sandbox import Limits

FULL = 0.999  # some data sets give 0.999... for everything right
_LIMITS = Limits(wall=15.0, total=1e9, cpu=10**9, memory=4 << 30)  # one process grades for the whole run
_SOURCE = Path(__file__).with_name("gym_worker.py")
_idle: "queue.SimpleQueue[Program]" = queue.SimpleQueue()


def gym_score(name: str, config: str, seed: int, index: int, question: str, answer: str) -> float:
    """The score of `answer` to item `index` of the data set `name`.

    The item is made again from its seed and config (JSON). An answer that breaks or hangs the grader scores 0. Raises
    RunError where the item can't be made again as it was (another version of reasoning-gym), or the sandbox does not
    start.
    """
    if explodes(answer):  # spares the wait
        return 0.0
    digest = hashlib.sha256(question.encode()).hexdigest()
    request = [name, config, seed, index, digest, answer]
    outcome = _ask(_idle_or_new(), request)
    if outcome.status == "killed":  # an idle one may have died meanwhile: bwrap ends with the thread that started it
        outcome = _ask(_new(), request)
    if outcome.status == "grader" or outcome.error == "ItemError":
        raise RunError(outcome.message)
    return float(outcome.value) if outcome.status == "ok" else 0.0


def _ask(program: Program, request: list[Any]) -> Outcome:
    outcome = program.call("score", request)
    if outcome.status in ("ok", "error"):
        _idle.put(program)
    else:
        program.close()
    return outcome


def _idle_or_new() -> Program:
    try:
        return _idle.get_nowait()
    except queue.Empty:
        return _new()


def _new() -> Program:
    program = Program(_SOURCE.read_text(encoding="utf-8"), _LIMITS, packages=True)
    if program.loaded.status != "ok":
        message = f"the grader did not start: {program.loaded.error} {program.loaded.message}"
        program.close()
        raise RunError(message)
    return program


@atexit.register
def _close() -> None:
    while not _idle.empty():
        _idle.get_nowait().close()
