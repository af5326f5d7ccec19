"""Find a task by name."""

import functools
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from fst_cli.data.errors import UsageError, nearest
from fst_cli.data.records import Record
from fst_cli.tasks import math, stargraph
from fst_cli.tasks.base import Task

_BUILT_IN = [math.TASK, stargraph.TASK]


@functools.cache
def tasks() -> dict[str, Task]:
    """All tasks by name: ours, then those that installed packages offer as `fst.tasks`."""
    outside = [point.load() for point in entry_points(group="fst.tasks")]
    return {task.name: task for task in [*_BUILT_IN, *outside]}


def get_task(name: str) -> Task:
    """The task with this name.

    Raises UsageError, naming the nearest known one, where there is none.
    """
    found = tasks().get(name)
    if found is None:
        raise UsageError(f"unknown task `{name}`", hint=nearest(name, list(tasks())))
    return found


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
