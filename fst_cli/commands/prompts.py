"""`fst prompts`: looking at a population."""

from pathlib import Path
from typing import Annotated

import typer

prompts = typer.Typer(help="Look at a population of prompts.", no_args_is_help=True)


@prompts.command("show")
def show(
    population: Annotated[Path, typer.Argument(help="Prompts (JSONL), with their ancestors beside them.")],
    matrix: Annotated[bool, typer.Option("--matrix", help="Also the score of each prompt on each anchor problem.")] = (
        False
    ),
) -> None:
    """Print a population: coverage and means, what changed from parent to child word by word, and the lineage.

    Example: fst prompts show runs/first/cycle-001/prompts.jsonl --matrix
    """
    from fst_cli.stages.show import show_population

    show_population(population, matrix)
