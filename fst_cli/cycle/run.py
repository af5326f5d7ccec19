"""Algorithm 1 (PAPER section 1): the stages in order, in one process, on one run directory.

Nothing here computes, and every stage could as well have been run alone.
"""

import contextlib
import functools
from pathlib import Path
from typing import Any

from fst_cli.cycle.config import RunConfig
from fst_cli.cycle.measurements import measure_end, measure_now
from fst_cli.cycle.metrics import write_metrics
from fst_cli.cycle.sinks import Sinks
from fst_cli.cycle.state import Run, check_kept
from fst_cli.cycle.status import FAILURE, record_failure
from fst_cli.data import jsonl
from fst_cli.data.files import prune
from fst_cli.data.records import Problem
from fst_cli.data.stage import is_complete, read_stage, stage_path
from fst_cli.engines.registry import Engines
from fst_cli.fast.population import seed_population
from fst_cli.fast.settings import EvolveSettings
from fst_cli.slow.settings import TrainSettings
from fst_cli.stages.evolve import evolve_stage, make_reflector
from fst_cli.stages.generate import generate_stage
from fst_cli.stages.rollout import rollout_stage
from fst_cli.stages.train import STATE, Teacher, train_stage
from fst_cli.tasks.registry import get_task


def run_cycles(config: RunConfig, folder: Path) -> None:
    """Run or go on with a run whose config.toml is in `folder`."""
    with Engines(config.engine_settings) as engines, contextlib.closing(Sinks(config, folder)) as sinks:
        run = Run(config, folder, engines, sinks)
        (folder / FAILURE).unlink(missing_ok=True)
        try:
            _all(run)
        except Exception as error:
            record_failure(folder, run.label, error)
            raise


def _all(run: Run) -> None:
    config, folder = run.config, run.folder
    for task in config.tasks:
        _data(run, task)
    prompts = folder / "seed.jsonl"
    if not prompts.exists():
        jsonl.write(prompts, seed_population(_seed_prompt(config)))
    if config.eval.every:
        measure_now(run, "start", folder, prompts)
    for number in range(config.cycles):
        prompts = _one_cycle(run, number, prompts)
    measure_end(run, prompts)
    run.sinks.log(write_metrics(folder, config), ended=True)


def _seed_prompt(config: RunConfig) -> str:
    return get_task(config.tasks[0]).seed_prompt if config.seed_prompt is None else config.seed_prompt


def _data(run: Run, task: str) -> None:
    config = run.config
    counts = {"train": len(config.cycles_of(task)) * config.problems_per_cycle, "test": config.eval.problems}
    for split, count in counts.items():
        output = run.data(split, task)
        if is_complete(output) and read_stage(output).settings["count"] != count:
            stage_path(output).unlink()  # the run has grown: the stream is made longer, its beginning stays
        make = functools.partial(
            generate_stage, output, task=task, task_options=config.options_of(task), split=split, count=count,
            seed=config.seed,
        )  # fmt: skip
        run.stage(config.label_of(f"generate {split}", task), output, [], make)


def _one_cycle(run: Run, number: int, prompts: Path) -> Path:
    """One cycle of Algorithm 1; the path of its population."""
    config, folder = run.config, run.folder / f"cycle-{number:03d}"
    lookahead = _slice(run, number, folder / "problems.jsonl", 0, config.problems_per_cycle)
    if config.fast.enabled:
        carried, prompts = prompts, folder / "prompts.jsonl"
        run.stage(
            f"cycle {number}: evolve-prompts",
            prompts,
            [lookahead, carried, run.weights],
            lambda: _evolve(run, number, lookahead, carried, prompts),
        )
        last = not config.slow.enabled and number + 1 == config.cycles  # which the grid measures
        if config.eval.every and not last:
            measure_now(run, f"cycle {number}", folder, prompts)
    if config.slow.enabled:
        for step in range(config.steps_per_cycle):
            _one_step(run, number, step, prompts)
            updates = number * config.steps_per_cycle + step + 1
            last = updates == config.cycles * config.steps_per_cycle
            if config.eval.every and updates % config.eval.every == 0 and not last:
                label = f"cycle {number} step {step}"
                measure_now(run, label, folder / f"step-{step:02d}", prompts, kl=True)
    return prompts


def _evolve(run: Run, number: int, lookahead: Path, carried: Path, prompts: Path) -> None:
    config, fast = run.config, run.config.fast
    evolve_stage(
        run.policy,
        lookahead,
        carried,
        prompts,
        settings=EvolveSettings(**fast.model_dump(include=set(EvolveSettings.model_fields))),
        sampling=config.sampling,
        seed=config.seed,
        cycle=number,
        reflector=make_reflector(fast, fast.recipe, config.model),
        engines=run.engines,
        evidence=prompts.parent / "evolve",
        spend_limit=fast.spend_limit,
    )


def _one_step(run: Run, number: int, step: int, prompts: Path) -> None:
    config, slow = run.config, run.config.slow
    folder = run.folder / f"cycle-{number:03d}" / f"step-{step:02d}"
    problems = _slice(run, number, folder / "problems.jsonl", step * config.problems_per_step, config.problems_per_step)
    rollouts = folder / "rollouts.jsonl"
    before = run.weights
    distilling = slow.loss == "distill"
    rolled = run.folder / "promptless.jsonl" if distilling else prompts  # a student sees the problem alone
    if not rolled.exists():
        jsonl.write(rolled, seed_population(""))
    evaluations = prompts.parent / "evolve" / "evaluations.jsonl"
    reuse = evaluations if config.fast.enabled and config.fast.reuse_rollouts else None
    run.stage(
        f"cycle {number} step {step}: rollout",
        rollouts,
        [problems, rolled, before, reuse],
        lambda: rollout_stage(
            run.policy,
            problems,
            rolled,
            rollouts,
            group_size=slow.group_size,
            sampling=config.sampling,
            seed=config.seed,
            cycle=number,
            step=step,
            engines=run.engines,
            reuse=reuse,
        ),
    )
    settings = TrainSettings(**slow.model_dump(include=set(TrainSettings.model_fields)))
    teacher = Teacher(problems, prompts) if distilling else None
    state = before.parent / STATE if before and before != run.start else None  # another run's is not gone on with
    ran = run.stage(
        f"cycle {number} step {step}: train-step",
        folder / "train.json",
        [rollouts, state, before, *([problems, prompts] if distilling else [])],
        lambda: _train(run, rollouts, folder, settings=settings, state=state, teacher=teacher),
    )
    run.trained(folder / "weights", in_memory=ran)
    _forget(run, number * config.steps_per_cycle + step - 2)


def _train(run: Run, rollouts: Path, folder: Path, **given: Any) -> None:
    check_kept(given["state"])
    run.engines.sleep()  # where trainer and engine share one GPU
    train_stage(run.policy, rollouts, folder, seed=run.config.seed, **given)


def _forget(run: Run, index: int) -> None:
    """Prune what the configuration does not keep of a step, counted from 0, that is two behind the newest.

    Two are kept so that a damaged newest step can be made again.
    """
    config = run.config
    if index < 0:
        return
    cycle, step = divmod(index, config.steps_per_cycle)
    folder = run.folder / f"cycle-{cycle:03d}" / f"step-{step:02d}"
    evaluated = config.eval.every and (index + 1) % config.eval.every == 0
    if config.keep_weights == "last" or (config.keep_weights == "evaluated" and not evaluated):
        prune(folder / "weights")
    if config.keep_optimizer == "last":
        prune(folder / STATE)


def _slice(run: Run, number: int, output: Path, first: int, count: int) -> Path:
    """Problems first..first+count of a cycle, as a file that a stage can be run on alone."""
    if not output.exists():
        task = run.config.task_of(number)
        first += run.config.cycles_of(task).index(number) * run.config.problems_per_cycle
        problems = jsonl.read_all(run.data("train", task), Problem)
        jsonl.write(output, problems[first : first + count])
    return output
