"""`fst status`: how far a run has come."""

from pathlib import Path
from typing import Annotated

import typer


def status(
    run: Annotated[Path, typer.Argument(help="The run directory.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Tell what of a run is complete, whether it runs or has failed, what it cost so far, and what comes next.

    Example: fst status runs/first
    """
    from fst_cli.stages.show_status import show_status

    show_status(run, json)
