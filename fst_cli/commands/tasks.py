"""`fst tasks`: what there is to train on."""

from typing import Annotated

import typer


def tasks(
    name: Annotated[str | None, typer.Argument(help="Show this task's options and seed prompt.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """List the tasks: where their problems come from, how many, under which licence, and what is needed to get them.

    Example: fst tasks hover
    """
    from fst_cli.stages.list_tasks import list_tasks, show_task

    if name is None:
        list_tasks(json)
    else:
        show_task(name)
