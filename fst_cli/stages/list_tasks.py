"""The tasks for a person's eyes, or one JSON object a line."""

import sys

import orjson

from fst_cli.tasks.registry import get_task, tasks


def list_tasks(as_json: bool) -> None:
    """Print every task to standard output."""
    if as_json:
        for task in tasks().values():
            row = {"name": task.name, "summary": task.summary, **vars(task.source)}
            sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("task", "what", "source", "size", "licence", "needs"):
        table.add_column(column, overflow="fold", no_wrap=column == "task")
    for task in tasks().values():
        source = task.source
        table.add_row(task.name, task.summary, source.origin, source.size, source.licence, source.needs)
    Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200).print(table)


def show_task(name: str) -> None:
    """Print one task: its source, its options and its seed prompt.

    Raises UsageError for an unknown one.
    """
    task = get_task(name)
    source = task.source
    lines = [
        f"{task.name}: {task.summary}",
        f"source: {source.origin} ({source.size}; {source.licence}); needs {source.needs}",
        "",
        "options (--set NAME=VALUE; in a run task_options.NAME):",
    ]
    for option, field in task.options.model_fields.items():
        default = field.get_default(call_default_factory=True)
        lines.append(f"  {option} = {default!r}: {field.description or ''}")
    if task.remedies:
        lines += ["", f"failures: {', '.join(task.remedies)}"]
    sys.stdout.write("\n".join([*lines, "", "seed prompt:", f"  {task.seed_prompt}"]) + "\n")
