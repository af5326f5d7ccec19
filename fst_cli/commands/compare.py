"""`fst compare`: two arms of runs, or two evaluations, against each other."""

from pathlib import Path
from typing import Annotated

import typer

from fst_cli.commands.options import Out


def compare(
    ours: Annotated[Path, typer.Argument(help="A run, a folder with a run a seed, or an eval.jsonl.")],
    theirs: Annotated[Path, typer.Argument(help="What to compare it with: of the same kind.")],
    out: Out = "-",
    cell: Annotated[
        str | None, typer.Option(help="Of evaluation files: the cell, as trained+evolved; by default the last.")
    ] = None,
) -> None:
    """Compare two ways to train: steps and rollouts to the other's best, KL at matched reward, ends, fits.

    Runs of one seed are paired, and intervals are over seeds. Two evaluation files are compared problem by problem.

    Example: fst compare runs/math/fst runs/math/rl -o compare.json
    """
    from fst_cli.stages.compare import compare_stage

    compare_stage(ours, theirs, out, cell)
