"""How a run begins: its configuration, its directory, and its end in a table."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from fst_cli.console import say, table
from fst_cli.cycle.config import RunConfig, load_config, make_config, save_config
from fst_cli.cycle.lock import locked
from fst_cli.cycle.manifest import write_manifest
from fst_cli.cycle.plan import plan_lines
from fst_cli.cycle.recipes import recipe
from fst_cli.cycle.run import run_cycles
from fst_cli.cycle.sinks import check_sinks
from fst_cli.data.errors import UsageError
from fst_cli.data.files import is_complete, read_json, stage_path, sweep
from fst_cli.policy.names import resolve_model
from fst_cli.slow.distributed import process_count
from fst_cli.stages.generate import check_options

DEFAULT_MODEL = "mini"
_GROWS_ON_RESUME = {"cycles", "sinks"}


def start(folder: Path, given: dict[str, Any], *, resume: bool, overwrite: bool, dry_run: bool) -> None:
    """Start, resume or plan a run; `given` are dotted settings from the command line.

    Raises UsageError where the directory holds a run and neither --resume nor --overwrite is given (PITFALLS 28).
    """
    if process_count() > 1:
        raise UsageError("fst cycle is one process", hint="torchrun is for its train-step stage: fst train-step --help")
    config = _resumed(folder, given) if resume else _fresh(given)
    for task in config.tasks:
        check_options(task, config.options_of(task))
    check_sinks(config.sinks)
    if dry_run:
        sys.stdout.write("\n".join(plan_lines(config, folder)) + "\n")
        return
    resolve_model(config.model)  # an unknown model, or one that can't be fetched, must not leave a directory
    with locked(folder):
        if resume:
            sweep(folder)
        else:
            _claim(folder, overwrite)
        started = time.monotonic()
        save_config(config, folder / "config.toml")
        write_manifest(folder, config)
        run_cycles(config, folder)
        _report(folder, config, time.monotonic() - started)


def _fresh(given: dict[str, Any]) -> RunConfig:
    task, model = given.get("task"), given.get("model", DEFAULT_MODEL)
    if not task:
        raise UsageError("--task is missing", hint="for example: fst cycle --task math --out runs/first")
    for one in task.split(","):
        check_options(one.strip(), {})
    config = make_config(recipe(given.get("recipe", "demo"), task, model), given)
    if config.init_from:
        config = config.model_copy(update={"init_from": str(_starting_weights(Path(config.init_from), config))})
    if len(config.tasks) > 1 and "cycles" not in given:  # one stage a task
        stages = len(config.tasks) * config.switch_every // config.steps_per_cycle
        config = config.model_copy(update={"cycles": stages})
    return config


def _starting_weights(place: Path, config: RunConfig) -> Path:
    """The newest weights of a run, or a weights/ folder itself; absolute.

    Raises UsageError where there are none, or they are of another base model.
    """
    source = place / "config.toml"
    if not source.exists():
        if not (place / "config.json").exists() and not (place / "adapter_config.json").exists():
            raise UsageError(f"{place}: neither a run nor weights", hint="--init-from RUN, or the weights/ of a step")
        return place.resolve()
    model = load_config(source).model
    if resolve_model(model) != resolve_model(config.model):
        raise UsageError(f"{place} trained {model}, and this run trains {config.model}", hint=f"give --model {model}")
    steps = [path.parent for path in sorted(place.glob("cycle-*/step-*/train.json")) if is_complete(path)]
    if not steps:
        raise UsageError(f"{place}: has no trained weights yet")
    return (steps[-1] / "weights").resolve()


def _resumed(folder: Path, given: dict[str, Any]) -> RunConfig:
    config = load_config(folder / "config.toml")
    changed = sorted(set(given) - _GROWS_ON_RESUME)
    if changed:
        raise UsageError(
            f"--resume replays {folder}/config.toml; {', '.join(changed)} can't change",
            hint="start a new run directory",
        )
    if given.get("cycles", config.cycles) < config.cycles:
        raise UsageError(f"the run has {config.cycles} cycles; --cycles can only grow")
    return make_config(config.model_dump(mode="json", exclude_none=True), given)


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
        figures = read_json(stage_path(folder / config.file_of("grid", task)))["figures"]
        rows = [
            [name, f"{value[key]['mean']:.3f}", f"[{value[key]['low']:.3f}, {value[key]['high']:.3f}]"]
            for name, value in figures.items()
        ]
        title = f"{task}, {config.model}: success on {config.eval.problems} test problems"
        table(title, ["weights+prompt", key, "95 % interval"], rows)
        if config.slow.enabled:
            kl = read_json(stage_path(folder / config.file_of("kl", task)))["figures"]["kl_per_token"]
            say(f"KL(trained ‖ base) {kl['mean']:.4f} [{kl['low']:.4f}, {kl['high']:.4f}] nats per token, lead prompt")
    say(f"{seconds:.0f} s; everything is in {folder}")
