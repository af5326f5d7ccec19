"""How far a run has come: what is complete, whether it runs or has failed, what it cost, and what comes next."""

import contextlib
from pathlib import Path
from typing import Any

from fst_cli.cycle.config import load_config
from fst_cli.cycle.lock import holder
from fst_cli.cycle.plan import Planned, planned
from fst_cli.data.files import read_json, write_json
from fst_cli.data.stage import is_complete, read_stage

FAILURE = "failure.json"


def record_failure(folder: Path, label: str | None, error: BaseException) -> None:
    """Keep why a run ended, for `fst status`; a resumed run deletes it."""
    with contextlib.suppress(OSError):  # a full disk is what the error may be
        write_json(folder / FAILURE, {"stage": label, "error": str(error) or type(error).__name__})


def run_status(folder: Path) -> dict[str, Any]:
    """The status of a run, ready for JSON.

    Raises DataError where the folder holds no run.
    """
    config = load_config(folder / "config.toml")
    stages = list(planned(config, folder))
    done = [stage for stage in stages if is_complete(stage.output)]
    to_do = [stage for stage in stages if not is_complete(stage.output)]
    process = holder(folder)
    failure = read_json(folder / FAILURE) if (folder / FAILURE).exists() else None
    state = "running" if process else "complete" if not to_do else "failed" if failure else "stopped"
    manifest = folder / "manifest.json"
    return {
        "run": str(folder),
        "state": state,
        "process": process,
        "failure": failure if state == "failed" else None,
        "complete": len(done),
        "stages": len(stages),
        "next": to_do[0].label if to_do else None,
        "seconds": round(sum(_seconds(stage) for stage in done), 1),
        "seconds_left": _left(done, to_do),
        "cost": read_json(manifest)["cost"] if manifest.exists() else {},
    }


def _seconds(stage: Planned) -> float:
    return read_stage(stage.output).seconds


def _left(done: list[Planned], to_do: list[Planned]) -> float | None:
    """Seconds that the rest takes if every stage takes as long as its like so far; None where a kind has not run."""
    spent: dict[str, list[float]] = {}
    for stage in done:
        spent.setdefault(stage.command, []).append(_seconds(stage))
    if any(stage.command not in spent for stage in to_do):
        return None
    return round(sum(sum(spent[stage.command]) / len(spent[stage.command]) for stage in to_do), 1)
