"""Find a task by name: ours, one of an installed package, `gym:NAME`, or a Python file."""

import functools
import importlib.util
import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fst_cli.data.errors import UsageError, nearest
from fst_cli.data.records import Record
from fst_cli.tasks import choice, code, codeio, gym, hover, math, math_python, stargraph
from fst_cli.tasks.base import Task

_BUILT_IN = [
    *math.TASKS, math_python.TASK, stargraph.TASK, codeio.TASK, *hover.TASKS, *choice.TASKS, *code.TASKS
]  # fmt: skip


@functools.cache
def tasks() -> dict[str, Task]:
    """All tasks by name: ours, then those that installed packages offer as `fst.tasks`."""
    outside = [point.load() for point in entry_points(group="fst.tasks")]
    return {task.name: task for task in [*_BUILT_IN, *outside]}


def get_task(name: str) -> Task:
    """The task with this name; `gym:NAME` is a data set of reasoning-gym, and FILE.py the file's `TASK`.

    Raises UsageError, naming the nearest known one, where there is none.
    """
    if name.startswith(gym.PREFIX):
        return gym.gym_task(name.removeprefix(gym.PREFIX))
    if name.endswith(".py"):
        return _from_file(Path(name).resolve())
    found = tasks().get(name)
    if found is None:
        raise UsageError(f"unknown task `{name}`", hint=f"{nearest(name, list(tasks()))} fst tasks lists them")
    return found


@functools.cache
def _from_file(path: Path) -> Task:
    """The `TASK` of a Python file; its name is the file's path, by which later stages find it again."""
    spec = importlib.util.spec_from_file_location(f"fst_task_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"{path}: no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass or a pydantic model looks its module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from error
    task = getattr(module, "TASK", None)
    if not isinstance(task, Task):
        raise UsageError(f"{path}: has no TASK", hint="see examples/custom_task.py")
    return replace(task, name=str(path))


def task_options(task: Task, given: dict[str, Any]) -> Record:
    """Checked options of a task.

    Raises UsageError for an unknown or bad option.
    """
    try:
        return task.options.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"task {task.name} has no option `{name}`", hint=nearest(name, list(task.options.model_fields))
            ) from None
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"task {task.name}: {name + ': ' if name else ''}{message}") from None
