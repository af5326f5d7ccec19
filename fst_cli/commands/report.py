"""`fst report`: figures and a page of one or many runs."""

from pathlib import Path
from typing import Annotated

import typer

from fst_cli.commands.options import OutFolder


def report(
    runs: Annotated[list[Path], typer.Argument(help="Runs, or folders that hold one run a seed, to compare.")],
    out: OutFolder = Path("report"),
) -> None:
    """Draw what runs measured, as PNG, SVG and one HTML page with prompts and rollouts to read; compares several.

    An argument is an arm: a run's folder, or a folder with a run for each seed. What the runs have no data for is left
    out, so a run can be looked at while it goes on. The page needs nothing beside it and no network. An older report
    at the same place is replaced.

    Example: fst report runs/rl runs/fst -o report
    """
    from fst_cli.report.write import write_report

    write_report(runs, out)
