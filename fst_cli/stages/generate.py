"""The generate stage: options -> problems.jsonl."""

from pathlib import Path
from typing import Any, get_args

import orjson

from fst_cli.console import say
from fst_cli.data import jsonl
from fst_cli.data.errors import UsageError
from fst_cli.data.stage import stage
from fst_cli.stages.inputs import one_of
from fst_cli.tasks.registry import get_task, task_options
from fst_cli.tasks.splits import Split


def generate_stage(
    out: Path | str, *, task: str, task_options: dict[str, Any], split: str, count: int, seed: int
) -> None:
    """Write `count` problems.

    Raises UsageError for an unknown task, option or split.
    """
    found = get_task(task)
    options = check_options(found.name, task_options)
    which = one_of("--split", split, list(get_args(Split)))
    settings = {"task": task, "options": options.model_dump(mode="json"), "split": split, "count": count, "seed": seed}
    with stage("generate", out, {}, settings):
        problems = found.problems(options, which, count, seed)
        # By this name later stages find the task again.
        written = jsonl.write(out, (problem.model_copy(update={"task": found.name}) for problem in problems))
    say(f"{written} {split} problems of {task} -> {out}")


def check_options(task: str, given: dict[str, Any]) -> Any:
    """The checked options of a task; a dotted name is a key of an option (`columns.question`)."""
    nested: dict[str, Any] = {}
    for name, value in given.items():
        set_dotted(nested, name, value)
    return task_options(get_task(task), nested)


def set_dotted(target: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` within nested dicts.

    Raises UsageError where a part before the last is there and no section.
    """
    *parents, last = dotted.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise UsageError(f"configuration: {dotted}: {parent} is not a section")
    target[last] = value


def parse_settings(pairs: list[str]) -> dict[str, Any]:
    """`name=value` pairs; a value that reads as JSON is one (1, 0.5, true, [0, 4]), any other is text.

    Raises UsageError for a pair without `=`.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {pair}: not of the form name=value")
        try:
            found[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[name] = value
    return found
