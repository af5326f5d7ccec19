"""What several stages read: problems and prompts."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from fst_cli.data import jsonl
from fst_cli.data.errors import DataError, UsageError, bad_settings, nearest
from fst_cli.data.records import Problem, Prompt, Record
from fst_cli.fast.population import prompt_id, seed_population
from fst_cli.tasks.registry import get_task

R = TypeVar("R", bound=Record)
Under = Literal["lead", "each", "seed", "none"]


def load_problems(path: Path | str, limit: int | None = None) -> list[Problem]:
    """Problems of one task with distinct ids.

    Raises DataError where ids repeat or tasks are mixed.
    """
    problems = jsonl.read_all(path, Problem)[:limit]
    seen: set[str] = set()
    for number, problem in enumerate(problems, start=1):
        if problem.id in seen:
            raise DataError(f"{path}: record {number}: id: {problem.id} is there twice")
        seen.add(problem.id)
        if problem.task != problems[0].task:
            raise DataError(f"{path}: record {number}: task: {problem.task} beside {problems[0].task}")
    get_task(problems[0].task)
    return problems


def load_prompts(path: Path | None, problems: list[Problem]) -> list[Prompt]:
    """The population of a prompts.jsonl; without one, the task's seed prompt alone (Φ₀).

    Raises DataError where a prompt was edited by hand and kept its old id: its id is the hash of its text.
    """
    if path is None:
        return seed_population(get_task(problems[0].task).seed_prompt)
    prompts = jsonl.read_all(path, Prompt)
    for number, prompt in enumerate(prompts, start=1):
        right = prompt_id(prompt.instruction, prompt.examples)
        if prompt.id != right:
            raise DataError(
                f"{path}: record {number}: id: {prompt.id} is not the hash of this instruction and its examples",
                hint=f'write "id": "{right}"',
            )
    return prompts


def prompts_under(under: Under, path: Path | None, problems: list[Problem]) -> list[Prompt]:
    """The prompts to sample under, each once."""
    if under == "none":
        return seed_population("")
    if under == "seed":
        return load_prompts(None, problems)
    population = load_prompts(path, problems)
    return list({prompt.id: prompt for prompt in population}.values()) if under == "each" else population[:1]


def count_problems(path: Path | str) -> int:
    """Number of problems in a file.

    Raises UsageError for standard input, which can be read once only.
    """
    if str(path) == "-":
        raise UsageError("the size of the anchor set can't be guessed from standard input", hint="give --anchor")
    return len(load_problems(path))


@contextlib.contextmanager
def saved_stdin(path: str) -> Iterator[Path]:
    """The path itself, or standard input in a temporary file, for what reads it more than once."""
    if path != "-":
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "stdin.jsonl"
        copy.write_bytes(sys.stdin.buffer.read())
        yield copy


def from_options(kind: type[R], **given: Any) -> R:
    """Settings from the options of a command.

    Raises UsageError that names the option which makes no sense.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise bad_settings(error, list(given), as_options=True) from None


def one_of(option: str, value: str, known: list[str]) -> Any:
    """`value`, if it is one of the known ones.

    Raises UsageError where it is not.
    """
    if value not in known:
        raise UsageError(f"{option} {value}: unknown", hint=nearest(value, known))
    return value
