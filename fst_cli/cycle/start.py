"""How a run begins, in a directory of its own, and its end in a table."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from fst_cli.console import say, table, warn
from fst_cli.cycle.config import RunConfig, save_config
from fst_cli.cycle.lock import locked
from fst_cli.cycle.manifest import changes, write_manifest
from fst_cli.cycle.plan import plan_lines
from fst_cli.cycle.repair import repair
from fst_cli.cycle.resolve import fresh, origin_lines, resumed
from fst_cli.cycle.run import run_cycles
from fst_cli.cycle.sinks import check_sinks
from fst_cli.data.errors import UsageError
from fst_cli.data.stage import read_stage
from fst_cli.policy.names import resolve_model
from fst_cli.slow.distributed import process_count
from fst_cli.stages.generate import check_options


def start(
    folder: Path, given: dict[str, Any], *, resume: bool, overwrite: bool, dry_run: bool, accept_changes: bool = False
) -> None:
    """Start, resume or plan a run; `given` are dotted settings from the command line.

    Raises UsageError where the directory holds a run and neither --resume nor --overwrite is given (PITFALLS 28).
    """
    if process_count() > 1:
        raise UsageError("fst cycle is one process", hint="torchrun is for its train-step stage: fst train-step --help")
    config, origins = resumed(folder, given) if resume else fresh(given)
    for task in config.tasks:
        check_options(task, config.options_of(task))
    check_sinks(config.sinks)
    if dry_run:
        sys.stdout.write("\n".join([*plan_lines(config, folder), "", *origin_lines(config, origins)]) + "\n")
        return
    resolve_model(config.model)  # an unknown model, or one that can't be fetched, must not leave a directory
    with locked(folder):
        accepted: list[str] = []
        if resume:
            accepted = _check_changes(folder, config, accept_changes)
            repair(folder, config)
        else:
            _claim(folder, overwrite)
        started = time.monotonic()
        save_config(config, folder / "config.toml")
        write_manifest(folder, config, accepted)
        run_cycles(config, folder)
        _report(folder, config, time.monotonic() - started)


def _check_changes(folder: Path, config: RunConfig, accept: bool) -> list[str]:
    """What has changed since the run was last at work.

    Raises UsageError where that is not accepted: the same stages would make other bytes.
    """
    found = changes(folder, config)
    if found and not accept:
        raise UsageError(
            f"not what the run was made with: {'; '.join(found)}",
            hint="--accept-changes goes on nevertheless, and keeps a note of it in manifest.json",
        )
    for change in found:
        warn(f"accepted: {change}")
    return found


def _claim(folder: Path, overwrite: bool) -> None:
    if folder.exists() and any(folder.iterdir()):
        is_run = (folder / "config.toml").exists()
        if overwrite and is_run:
            shutil.rmtree(folder)
        elif is_run:
            raise UsageError(
                f"{folder} already holds a run",
                hint=f"fst cycle --out {folder} --resume goes on with it; --overwrite deletes it first",
            )
        else:
            raise UsageError(f"{folder} is not empty and not a run", hint="choose another --out")
    folder.mkdir(parents=True, exist_ok=True)


def _report(folder: Path, config: RunConfig, seconds: float) -> None:
    key = f"success_mean@{config.eval.samples}"
    for task in config.tasks:
        figures = read_stage(folder / config.file_of("grid", task)).figures
        rows = [
            [name, f"{value[key]['mean']:.3f}", f"[{value[key]['low']:.3f}, {value[key]['high']:.3f}]"]
            for name, value in figures.items()
        ]
        title = f"{task}, {config.model}: success on {config.eval.problems} test problems"
        table(title, ["weights+prompt", key, "95 % interval"], rows)
        if config.slow.enabled:
            kl = read_stage(folder / config.file_of("kl", task)).figures["kl_per_token"]
            say(f"KL(trained ‖ base) {kl['mean']:.4f} [{kl['low']:.4f}, {kl['high']:.4f}] nats per token, lead prompt")
    say(f"{seconds:.0f} s; everything is in {folder}")
