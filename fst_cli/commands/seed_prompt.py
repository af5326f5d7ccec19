"""`fst seed-prompt`: the population to begin with."""

from typing import Annotated

import typer

from fst_cli.commands.options import Out


def seed_prompt(
    task: Annotated[str | None, typer.Option(help="Write this task's seed prompt.")] = None,
    instruction: Annotated[str | None, typer.Option(help="Write a prompt of your own instead.")] = None,
    out: Out = "-",
) -> None:
    """Write the population of one prompt that evolution begins with.

    Example: fst seed-prompt --task math -o seed.jsonl
    """
    from fst_cli.data import jsonl
    from fst_cli.data.errors import UsageError
    from fst_cli.fast.population import seed_population
    from fst_cli.tasks.registry import get_task

    if (task is None) == (instruction is None):
        raise UsageError("give either --task or --instruction")
    text = instruction if task is None else get_task(task).seed_prompt
    jsonl.write(out, seed_population(text or ""))
