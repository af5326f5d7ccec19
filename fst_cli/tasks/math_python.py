"""Math with a Python tool: a program that the model writes is run in the sandbox, and what it prints comes back.

A turn that holds a ```python block and no box is a call. The loss is on the model's own tokens.
"""

from collections.abc import Sequence
from dataclasses import replace

from fst_cli.data.errors import RunError
from fst_cli.data.records import Problem
from fst_cli.grading.answers import last_boxed
from fst_cli.grading.program import ScriptResult, run_script
from fst_cli.grading.sandbox import Limits
from fst_cli.tasks import math
from fst_cli.tasks.code import extract_program

SEED_PROMPT = (
    "You are a precise math solver with a Python tool. To calculate, write a short program that prints its result in "
    "one ```python block and stop: what it prints is given to you. When you know the answer, put it inside \\boxed{} "
    "on the last line."
)
TURNS = 4
LIMITS = Limits(wall=5.0, memory=512 << 20)
SHOWN = 2000  # characters of what a program printed


def respond(problem: Problem, turns: Sequence[str]) -> str | None:
    """What the program of the last turn printed, or its error; None where the turn has a box or no program.

    Raises RunError where the sandbox fails.
    """
    source = extract_program(turns[-1])
    if source is None or last_boxed(turns[-1]) is not None:
        return None
    result = run_script(source, limits=LIMITS)
    if result.status == "grader":
        raise RunError(f"the python tool failed: {result.message}")
    return _shown(result)


def _shown(result: ScriptResult) -> str:
    printed = result.stdout.strip()
    if len(printed) > SHOWN:
        printed = f"{printed[:SHOWN]}\n[... {len(printed) - SHOWN} more characters]"
    if result.status == "ok":
        return printed or "The program printed nothing."
    where = f" in line {result.line}" if result.line else ""
    if result.status == "error":
        said = f"{result.error}: {result.message}{where}"
    else:
        said = f"The program was stopped: {result.status.replace('_', ' ')}{where}"
    return f"{printed}\n{said}".strip()


TASK = replace(
    math.TASK,
    name="math-python",
    summary="the same with a Python tool",
    seed_prompt=SEED_PROMPT,
    respond=respond,
    max_turns=TURNS,
    source=replace(math.TASK.source, needs="a sandbox (Linux)"),
    remedies=math.REMEDIES | {"no_box": [*math.REMEDIES["no_box"], "Use the Python tool, then write the answer."]},
)
