"""Algorithm 1 (PAPER section 1): the stages in order, in one process, on one run directory.

Nothing here computes; a stage whose stage.json is there and whose inputs are unchanged is skipped, which is all that
`--resume` means. The policy stays loaded between stages, and every stage could as well have been run alone.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.cycle.config import RunConfig
from fst_cli.cycle.manifest import write_manifest, write_metrics
from fst_cli.data import jsonl
from fst_cli.data.files import is_complete, is_up_to_date, read_json, stage_path
from fst_cli.data.records import Problem, Prompt
from fst_cli.engines.registry import Engines
from fst_cli.fast.population import seed_population
from fst_cli.fast.settings import EvolveSettings
from fst_cli.policy.model import Policy, load_policy
from fst_cli.slow.settings import TrainSettings
from fst_cli.stages.evaluate import Cell, eval_stage
from fst_cli.stages.evolve import evolve_stage, make_reflector
from fst_cli.stages.generate import generate_stage
from fst_cli.stages.kl import kl_stage
from fst_cli.stages.rollout import rollout_stage
from fst_cli.stages.train import STATE, Teacher, train_stage
from fst_cli.tasks.registry import get_task


@dataclass
class Run:
    """A run directory and what is loaded of it."""

    config: RunConfig
    folder: Path
    engines: Engines
    weights: Path | None = None  # the newest trained weights
    _policy: Policy | None = None
    _loaded: Path | None = None
    _base: Policy | None = None
    _skipped: list[str] = field(default_factory=list)

    def policy(self) -> Policy:
        """The current policy, loaded once."""
        if self._policy is None or self._loaded != self.weights:
            self._policy = load_policy(self.config.model, self.weights, lazy=self.engines.lazy)
            self._loaded = self.weights
        return self._policy

    def base(self) -> Policy:
        """The base model."""
        if self.weights is None:
            return self.policy()
        if self._base is None:
            self._base = load_policy(self.config.model, lazy=self.engines.lazy)
        return self._base

    def trained(self, weights: Path, in_memory: bool) -> None:
        """The newest weights are in this folder, and in the loaded policy too if it was trained just now."""
        self.weights = weights
        if in_memory:
            self._loaded = weights

    def stage(self, label: str, output: Path, inputs: Iterable[Path | None], run: Callable[[], Any]) -> bool:
        """Run a stage unless it is complete on these inputs; whether it was run."""
        if is_up_to_date(output, inputs):
            self._skipped.append(label)
            return False
        if self._skipped:
            say(f"complete and skipped: {len(self._skipped)} stages, the last: {self._skipped[-1]}")
            self._skipped.clear()
        say(f"[{label}]")
        run()
        write_metrics(self.folder, self.config)
        write_manifest(self.folder, self.config)
        return True


def run_cycles(config: RunConfig, folder: Path) -> None:
    """Run or go on with a run whose config.toml is in `folder`."""
    with Engines(config.engine_settings) as engines:
        run = Run(config, folder, engines)
        _data(run)
        prompts = folder / "seed.jsonl"
        if not prompts.exists():
            jsonl.write(prompts, seed_population(get_task(config.task).seed_prompt))
        for number in range(config.cycles):
            prompts = _one_cycle(run, number, prompts)
        _measure(run, prompts)


def _data(run: Run) -> None:
    config = run.config
    counts = {"train": config.cycles * config.problems_per_cycle, "test": config.eval.problems}
    for split, count in counts.items():
        output = run.folder / "data" / f"{split}.jsonl"
        if is_complete(output) and read_json(stage_path(output))["settings"]["count"] != count:
            stage_path(output).unlink()  # the run has grown: the stream is made longer, its beginning stays
        make = functools.partial(
            generate_stage, output, task=config.task, task_options=config.task_options, split=split, count=count,
            seed=config.seed,
        )  # fmt: skip
        run.stage(f"generate {split}", output, [], make)


def _one_cycle(run: Run, number: int, prompts: Path) -> Path:
    """One cycle of Algorithm 1; the path of its population."""
    config, folder = run.config, run.folder / f"cycle-{number:03d}"
    lookahead = _slice(run, folder / "problems.jsonl", number * config.problems_per_cycle, config.problems_per_cycle)
    if config.fast.enabled:
        carried, prompts = prompts, folder / "prompts.jsonl"
        run.stage(
            f"cycle {number}: evolve-prompts",
            prompts,
            [lookahead, carried, run.weights],
            lambda: _evolve(run, number, lookahead, carried, prompts),
        )
    if config.slow.enabled:
        for step in range(config.steps_per_cycle):
            _one_step(run, number, step, prompts)
    if config.eval.every and (number + 1) % config.eval.every == 0 and number + 1 < config.cycles:
        output = folder / "eval.jsonl"
        inputs = [run.folder / "data" / "test.jsonl", prompts, run.weights]
        run.stage(f"cycle {number}: eval", output, inputs, lambda: _evaluate(run, output, prompts, grid=False))
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
    first = number * config.problems_per_cycle + step * config.problems_per_step
    problems = _slice(run, folder / "problems.jsonl", first, config.problems_per_step)
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
    state = before.parent / STATE if before else None
    ran = run.stage(
        f"cycle {number} step {step}: train-step",
        folder / "train.json",
        [rollouts, state, before, *([problems, prompts] if distilling else [])],
        lambda: _train(run, rollouts, folder, settings=settings, state=state, teacher=teacher),
    )
    run.trained(folder / "weights", in_memory=ran)


def _train(run: Run, rollouts: Path, folder: Path, **given: Any) -> None:
    run.engines.sleep()  # where trainer and engine share one GPU
    train_stage(run.policy, rollouts, folder, seed=run.config.seed, **given)


def _measure(run: Run, prompts: Path) -> None:
    """At the end: the 2×2 grid and the KL of the trained weights under the lead prompt."""
    config = run.config
    grid, test = run.folder / "grid.jsonl", run.folder / "data" / "test.jsonl"
    run.stage("eval --grid", grid, [test, prompts, run.weights], lambda: _evaluate(run, grid, prompts, grid=True))
    if config.slow.enabled:
        output = run.folder / "kl.jsonl"
        run.stage(
            "kl",
            output,
            [test, prompts, run.weights],
            lambda: kl_stage(
                run.policy,
                test,
                prompts,
                output,
                samples=1,
                sampling=config.sampling,
                seed=config.seed,
                engines=run.engines,
                limit=config.eval.kl_problems,
            ),
        )


def _evaluate(run: Run, output: Path, prompts: Path, grid: bool) -> None:
    config = run.config
    seed_prompt, lead = _lead(run.folder / "seed.jsonl"), _lead(prompts)
    fast, slow = config.fast.enabled, config.slow.enabled
    if grid:
        cells = [Cell("base+seed", run.base(), [seed_prompt])]
        cells += [Cell("base+evolved", run.base(), [lead])] if fast else []
        cells += [Cell("trained+seed", run.policy(), [seed_prompt])] if slow else []
        cells += [Cell("trained+evolved", run.policy(), [lead])] if fast and slow else []
    else:
        cells = [Cell("current", run.policy(), [lead])]
    eval_stage(
        cells,
        run.folder / "data" / "test.jsonl",
        output,
        samples=config.eval.samples,
        sampling=config.eval_sampling,
        seed=config.seed,
        engines=run.engines,
        prompts_path=prompts,
    )


def _slice(run: Run, output: Path, first: int, count: int) -> Path:
    """Problems first..first+count of the data stream, as a file that a stage can be run on alone."""
    if not output.exists():
        problems = jsonl.read_all(run.folder / "data" / "train.jsonl", Problem)
        jsonl.write(output, problems[first : first + count])
    return output


def _lead(prompts: Path) -> Prompt:
    return jsonl.read_all(prompts, Prompt)[0]
