"""CodeIO: predict what a Python function returns, or an input that makes it return a given value (PAPER section 5).

Problems are reasoning-gym's shipped functions (the default where it is installed), the user's own JSONL (`code`,
`input`, `output`: CRUXEval's form), or procedural expressions small enough for `mini`. Answers are compared as JSON
values; a predicted input by running the reference function on it, in the sandbox. Of the shipped functions every one
belongs to train or to test with all its inputs.

[open] Where the paper's grader looks for the answer. Ours: `grading/values.py`.
"""

import ast
import functools
import gzip
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import islice
from typing import Any, Literal

import orjson
from pydantic import Field

from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Message, Problem, Score
from fst_cli.data.seeds import derive, generator
from fst_cli.grading.program import Program
from fst_cli.grading.sandbox import Limits
from fst_cli.grading.values import NoValueError, as_json, difference, final_value, parse_value
from fst_cli.tasks import expressions
from fst_cli.tasks.base import Source, Task, boxed_solution
from fst_cli.tasks.dataset import DataOptions, Draft, dataset_problems
from fst_cli.tasks.rows import Row
from fst_cli.tasks.splits import Split, split_of, take_unique

SEED_PROMPT = (
    "You are an expert at predicting the output of Python functions. Given a function definition and its input "
    "values, trace the execution carefully step by step. Account for control flow, mutable state, and the exact return "
    "value at the end. Output the final answer as a JSON value matching the function's return type."
)
REMEDIES: dict[str, list[str]] = {
    "no_value": [
        "Finish with \\boxed{} around the answer.",
        "Put only the value inside \\boxed{}, with no words.",
        "Be brief.",
    ],
    "wrong_value": [
        "Evaluate one operation at a time and write down each value.",
        "Do one small operation at a time and write down each result.",
        "Write down each variable after every line.",
        "Check your answer before you finish.",
        "Read the problem twice.",
    ],
    "wrong_input": [
        "Run the function in your head on your input before you answer.",
        "Give a value for every argument, by its name.",
    ],
}
LONGEST_VALUE = 500  # characters of JSON: longer inputs or outputs are a test of copying
RUN = Limits(wall=20.0, cpu=2)  # processor time: which problems there are must not hang on the machine's load

OUTPUT = """\
Here is a Python function.

```python
{code}
```

{about}What does `{call}` return? Put the value, as JSON, inside \\boxed{{}} or alone in a fenced code block at the \
end."""
INPUT = """\
Here is a Python function.

```python
{code}
```

{about}With which arguments does `{name}` return this value: {output}? Put one JSON object with a value for every \
argument by its name inside \\boxed{{}} or alone in a fenced code block at the end."""


class CodeIOOptions(DataOptions):
    """Which problems."""

    source: Literal["gym", "expressions"] = Field(
        default="gym", description="without data: reasoning-gym's functions, or procedural ones for small models"
    )
    predict: Literal["output", "input", "both"] = Field(default="output", description="what is asked for")
    reveal: bool = Field(default=False, description="feedback says the right value where the answer first differs")


def problems(options: CodeIOOptions, split: Split, count: int, seed: int) -> Iterator[Problem]:
    """`count` problems of `split`."""
    if options.data or options.test_data:
        return _OWN(options, split, count, seed)
    make = _expression if options.source == "expressions" else _gym
    return take_unique(make(options, split, seed), count, key=lambda problem: problem.messages[0].content)


def _problem(id_: str, split: Split, question: str, answer: str, meta: dict[str, Any]) -> Problem:
    messages = [Message(role="user", content=question)]
    return Problem(id=id_, task="codeio", split=split, messages=messages, answer=answer, meta=meta)


# --- procedural expressions ---


def _expression(options: CodeIOOptions, split: Split, seed: int) -> Iterator[Problem]:
    for index in range(1_000_000_000):
        rng = generator("codeio-expression", split, seed, index)
        expression = expressions.draw(rng)
        if split_of("codeio", expression.text) == split:
            question = expressions.QUESTION.format(expression=expression.text)
            # The last value as JSON; the working says it as Python does.
            meta = {"solution": expression.worked, "reveal": options.reveal}
            yield _problem(f"codeio-{split}-{seed}-{index}", split, question, json.dumps(expression.value), meta)


# --- reasoning-gym's functions ---


def _gym(options: CodeIOOptions, split: Split, seed: int) -> Iterator[Problem]:
    functions = [place for place in range(len(gym_functions())) if split_of("codeio-function", place) == split]

    def draw(index: int) -> Problem | None:
        rng = generator("codeio", split, seed, index)
        return _gym_problem(options, split, rng.choice(functions), derive("codeio-input", split, seed, index))

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a draw waits for its sandbox
        indices = iter(range(1_000_000_000))
        while chunk := list(islice(indices, 16)):
            yield from (problem for problem in pool.map(draw, chunk) if problem is not None)


@functools.cache
def gym_functions() -> list[dict[str, Any]]:
    """The functions that reasoning-gym ships: task_description, input_output_spec, code_sample, input_generator.

    Raises UsageError where it is not installed.
    """
    try:
        path = files("reasoning_gym.data") / "codeio.jsonl.gz"
        return [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    except ModuleNotFoundError:
        raise UsageError(
            "the functions of codeio come with reasoning-gym",
            hint="pip install 'fst-cli[gym]', give --data, or --set source=expressions",
        ) from None


_DRAW = """
def fst_draw(seed):
    import copy, random
    given = generate_inputs(random.Random(seed))
    first = main_solution(**copy.deepcopy(given))
    again = main_solution(**copy.deepcopy(given))
    return [given, first, again]
"""


def _gym_problem(options: CodeIOOptions, split: Split, place: int, seed: int) -> Problem | None:
    """The function on an input of its own generator; None where that fails, draws at random, or is no JSON value."""
    function = gym_functions()[place]
    code, about = function["code_sample"], f"{function['task_description']}\n\n{function['input_output_spec']}\n\n"
    if 0 < options.max_chars < len(code) + len(about):  # spares the run
        return None
    source = f"{code}\n\n{function['input_generator']}\n{_DRAW}"
    with Program(source, RUN, prelude="from random import Random", packages=True) as program:
        outcome = program.call("fst_draw", [seed % 2**32])
    if outcome.status == "grader":
        raise RunError(f"the sandbox failed: {outcome.message}")
    if outcome.status != "ok" or outcome.value[1] != outcome.value[2]:
        return None
    try:
        given, output = (json.dumps(as_json(value)) for value in outcome.value[:2])
    except ValueError:
        return None
    code, meta = code.strip(), {"reveal": options.reveal}
    if options.predict == "input" or (options.predict == "both" and derive("codeio-kind", seed) % 2):
        question = INPUT.format(code=code, about=about, name="main_solution", output=output)
        answer, meta = given, meta | {"code": code, "entry": "main_solution", "output": output}
    else:
        question = OUTPUT.format(code=code, about=about, call=f"main_solution(**{json.loads(given)!r})")
        answer = output
    if max(len(given), len(output)) > LONGEST_VALUE or 0 < options.max_chars < len(question):
        return None
    return _problem(f"codeio-{place}-{seed % 2**32}", split, question, answer, meta)


# --- the user's own ---


def read_row(row: Row, options: CodeIOOptions) -> Draft | None:
    """CRUXEval's form: a function `f`, its arguments and its value as Python; None where one is no JSON value."""
    code, given, output = row.text("code").strip(), row.get("input"), row.text("output")
    if not isinstance(given, str):
        raise row.lacks("input")
    meta: dict[str, Any] = {"reveal": options.reveal}
    try:
        value = json.dumps(parse_value(output))
        if options.predict == "input" or (options.predict == "both" and derive("codeio-kind", code, given) % 2):
            question = INPUT.format(code=code, about="", name="f", output=value)
            answer = json.dumps(_named(code, given))
            return Draft(question, answer, meta | {"code": code, "entry": "f", "output": value})
    except (NoValueError, ValueError, SyntaxError):
        return None
    return Draft(OUTPUT.format(code=code, about="", call=f"f({given})"), value, meta)


def _named(code: str, given: str) -> dict[str, Any]:
    """The arguments of a call by the function's names for them, as JSON.

    Raises ValueError or SyntaxError where they can't be.
    """
    call = ast.parse(f"f({given})", mode="eval").body
    [function] = [node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef) and node.name == "f"]
    assert isinstance(call, ast.Call)
    named = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    names = [arg.arg for arg in function.args.args[: len(call.args)]]
    positional = dict(zip(names, map(ast.literal_eval, call.args), strict=True))
    return {str(name): as_json(value) for name, value in (positional | named).items()}


def _runs(problem: Problem, options: CodeIOOptions) -> Problem | None:
    """The problem; None where the function does not give its value on its own input as JSON has it."""
    if "code" in problem.meta and not _score_input(problem, json.loads(problem.answer)).success:
        return None
    return problem


_OWN = dataset_problems("codeio", read_row, finish=_runs)


# --- grading ---


def score(problem: Problem, text: str) -> Score:
    """1.0 where the reply's value is the right one; the feedback says where it first differs."""
    try:
        value = final_value(text)
    except NoValueError as error:
        return Score(reward=0.0, success=False, failure="no_value", feedback=str(error))
    if "code" in problem.meta:
        return _score_input(problem, value)
    found = difference(json.loads(problem.answer), value, problem.meta.get("reveal", False))
    if found is None:
        return Score(reward=1.0, success=True, feedback="Correct.")
    return Score(reward=0.0, success=False, failure="wrong_value", feedback=found)


def _score_input(problem: Problem, value: Any) -> Score:
    """Run the reference function on the predicted input."""
    if not isinstance(value, dict):
        feedback = "One JSON object with a value for every argument is wanted."
        return Score(reward=0.0, success=False, failure="wrong_input", feedback=feedback)
    with Program(problem.meta["code"], RUN, packages=True) as program:
        outcome = program.call(problem.meta["entry"], [], value)
    if outcome.status == "grader":
        feedback = "The answer could not be graded."
        return Score(reward=0.0, success=False, failure="ungraded", feedback=feedback, status="error")
    if outcome.status != "ok":
        said = " ".join(part for part in (outcome.status, outcome.error, outcome.message) if part)
        feedback = f"On this input the function fails: {said}."
        return Score(reward=0.0, success=False, failure="wrong_input", feedback=feedback)
    try:
        found = difference(json.loads(problem.meta["output"]), as_json(outcome.value))
    except ValueError as error:
        found = f"{error}."
    if found is None:
        return Score(reward=1.0, success=True, feedback="Correct.")
    feedback = f"On this input the function returns something else. {found}"
    return Score(reward=0.0, success=False, failure="wrong_input", feedback=feedback)


TASK = Task(
    name="codeio",
    summary="predict the output (or input) of a Python function",
    seed_prompt=SEED_PROMPT,
    options=CodeIOOptions,
    problems=problems,
    score=score,
    worked_solution=boxed_solution,
    remedies=REMEDIES,
    source=Source(
        "reasoning-gym, or procedural",
        "3002 functions, unlimited inputs",
        "Apache-2.0",
        "pip install 'fst-cli[gym]', or --set source=expressions",
    ),
)
