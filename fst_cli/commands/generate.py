"""`fst generate`: problems of a task."""

from typing import Annotated

import typer

from fst_cli.commands.options import Data, Out, Seed


def generate(
    task: Annotated[str, typer.Option(help="Its name (fst tasks), gym:NAME, or a Python file.")],
    out: Out = "-",
    split: Annotated[str, typer.Option(help="train or test; they never share a problem.")] = "train",
    count: Annotated[int, typer.Option("--count", "--limit", min=1, help="Number of problems.")] = 64,
    seed: Seed = 0,
    difficulty: Annotated[int | None, typer.Option(help="math: digits of the operands.")] = None,
    data: Data = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any option of the task, as name=value.")] = None,
) -> None:
    """Generate problems of a task.

    Example: fst generate --task math --split train --count 64 --seed 0 -o problems.jsonl
    """
    from fst_cli.stages.generate import generate_stage, parse_settings
    from fst_cli.tasks.rows import absolute

    given = parse_settings(set_ or [])
    if difficulty is not None:
        given["difficulty"] = difficulty
    if data is not None:
        given["data"] = absolute(data)
    generate_stage(out, task=task, task_options=given, split=split, count=count, seed=seed)
