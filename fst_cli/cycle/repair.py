"""What a run that goes on does first: look over what is there, and mark as incomplete what is damaged.

Whatever made a file other than its stage wrote it (a bad disk, a copy that was cut, a hand), it is never trained on
unseen: it is made again, or it is readable and kept, and then what was made from it is made again.
"""

from pathlib import Path

from fst_cli.console import warn
from fst_cli.cycle.config import RunConfig
from fst_cli.cycle.plan import Planned, planned
from fst_cli.data import jsonl
from fst_cli.data.errors import DataError
from fst_cli.data.files import sweep
from fst_cli.data.records import Divergence, Evaluation, Problem, Prompt, Record, Rollout
from fst_cli.data.stage import changed_outputs, is_complete, stage_path

# What may be edited by hand. Of other outputs nobody can say by reading them whether they are whole.
_RECORDS: dict[str, type[Record]] = {
    "generate": Problem,
    "evolve-prompts": Prompt,
    "rollout": Rollout,
    "eval": Evaluation,
    "kl": Divergence,
}


def repair(folder: Path, config: RunConfig) -> None:
    """Delete what a killed process left half-written, and the mark of every stage that is damaged."""
    sweep(folder)
    slices = folder.glob("cycle-*/**/problems.jsonl")
    derived: list[tuple[Path, type[Record]]] = [(folder / "seed.jsonl", Prompt), *((path, Problem) for path in slices)]
    for path, kind in derived:
        if path.exists() and not _readable(path, kind):
            warn(f"{path} is damaged: it is made again")
            path.unlink()
    for stage in planned(config, folder):
        if is_complete(stage.output) and _damaged(stage):
            stage_path(stage.output).unlink()


def _damaged(stage: Planned) -> bool:
    try:
        changed = changed_outputs(stage.output)
    except DataError as error:
        warn(f"{error}: [{stage.label}] is run again")
        return True
    for path in changed:
        kind = _RECORDS.get(stage.command)
        if path != stage.output or kind is None or not _readable(path, kind):
            warn(f"{path} is {'damaged' if path.exists() else 'gone'}: [{stage.label}] is run again")
            return True
        warn(f"{path} is not what [{stage.label}] wrote: it is kept, and what was made from it is made again")
    return False


def _readable(path: Path, kind: type[Record]) -> bool:
    try:
        return bool(jsonl.read_all(path, kind))
    except DataError:
        return False
