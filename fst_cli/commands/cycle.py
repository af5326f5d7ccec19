"""`fst cycle`: the whole of Fast-Slow Training."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fst_cli.commands.options import Data


def cycle(
    out: Annotated[Path, typer.Option("-o", "--out", help="The run directory.")],
    task: Annotated[
        str | None, typer.Option("--task", "--tasks", help="Its name (fst tasks), gym:NAME, or a Python file; A,B,C.")
    ] = None,
    switch_every: Annotated[
        int | None, typer.Option(min=1, help="Of several tasks: the updates before the next one's turn.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A folder, `mini` (default), `smollm2-135m`, or a hub id.")] = None,
    recipe: Annotated[str | None, typer.Option(help="demo (a laptop's CPU; default), paper, or a TOML file.")] = None,
    cycles: Annotated[int | None, typer.Option(min=1, help="Cycles.")] = None,
    steps_per_cycle: Annotated[int | None, typer.Option(min=1, help="T, RL steps a cycle.")] = None,
    init_from: Annotated[
        str | None, typer.Option(help="Start from the newest weights of this run, or from a weights/ folder.")
    ] = None,
    data: Data = None,
    reflector: Annotated[str | None, typer.Option(help="heuristic, local, or openai:MODEL.")] = None,
    reflector_base_url: Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible server.")] = None,
    engine: Annotated[str | None, typer.Option(help="transformers, vllm or openai; more: engine.*")] = None,
    base_url: Annotated[str | None, typer.Option(help="openai: base URL of each server, comma separated.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of every draw.")] = None,
    no_fast: Annotated[bool, typer.Option("--no-fast", help="RL only: the prompt stays the seed prompt.")] = False,
    no_slow: Annotated[bool, typer.Option("--no-slow", help="GEPA only: the weights stay the base model's.")] = False,
    reuse_rollouts: Annotated[
        bool, typer.Option("--reuse-rollouts", help="RL claims matching rollouts of the evolution.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of config.toml, as slow.learning_rate=1e-3.")
    ] = None,
    sink: Annotated[
        list[str] | None, typer.Option("--sink", help="Pass metrics.jsonl on: tensorboard, wandb or trackio.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, from its config.toml; --cycles may grow.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="With --resume: go on though code, model or data have changed.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the run in --out first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and where each setting comes from; write nothing.")
    ] = False,
) -> None:
    """Alternate prompt evolution and RL steps (PAPER, Algorithm 1); end with the 2x2 grid and the KL.

    Several --tasks are learned one after the other from a prompt that names none of them, and all are measured
    throughout. With --init-from, another run's weights learn this task; KL stays measured to the base model.

    Example: fst cycle --task math --out runs/first
    """
    from fst_cli.cycle.start import start
    from fst_cli.stages.generate import parse_settings
    from fst_cli.tasks.rows import absolute

    given: dict[str, Any] = {
        "task": task,
        "model": model,
        "recipe": recipe,
        "cycles": cycles,
        "steps_per_cycle": steps_per_cycle,
        "switch_every": switch_every,
        "init_from": init_from,
        "task_options.data": absolute(data) if data else None,
        "fast.reflector": reflector,
        "fast.reflector_base_url": reflector_base_url,
        "engine.name": engine,
        "engine.base_url": base_url,
        "seed": seed,
        "fast.enabled": False if no_fast else None,
        "slow.enabled": False if no_slow else None,
        "fast.reuse_rollouts": True if reuse_rollouts else None,
        "sinks": sink or None,
        **parse_settings(set_ or []),
    }
    given = {name: value for name, value in given.items() if value is not None}
    start(out, given, resume=resume, overwrite=overwrite, dry_run=dry_run, accept_changes=accept_changes)
