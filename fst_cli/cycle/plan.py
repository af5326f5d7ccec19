"""What a run does, stage by stage, and what each costs at most: for --dry-run and for `fst status`.

The order is that of `run.py`; a test holds the two together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fst_cli.cycle.config import RunConfig


@dataclass(frozen=True)
class Planned:
    """A stage to come: its label, the command that it is, the file that marks it, and the most samples it takes."""

    label: str
    command: str
    output: Path
    samples: int = 0
    training: bool = False  # whether the samples are a loop's, not a measurement's


def planned(config: RunConfig, folder: Path) -> Iterator[Planned]:
    """Every stage of a run, in order."""
    for task in config.tasks:
        for split in ("train", "test"):
            output = folder / "data" / config.file_of(split, task)
            yield Planned(config.label_of(f"generate {split}", task), "generate", output)
    if config.eval.every:
        yield from _measurement(config, "start", folder)
    for number in range(config.cycles):
        yield from _cycle(config, number, folder / f"cycle-{number:03d}")
    cells = (1 + config.fast.enabled) * (1 + config.slow.enabled)
    for task in config.tasks:
        samples = cells * config.eval.problems * config.eval.samples
        output = folder / config.file_of("grid", task)
        yield Planned(config.label_of("eval --grid", task), "eval", output, samples)
        if config.slow.enabled:
            yield _kl(config, "kl", task, folder)


def _cycle(config: RunConfig, number: int, folder: Path) -> Iterator[Planned]:
    steps = config.steps_per_cycle
    if config.fast.enabled:
        calls = config.fast.budget + (config.fast.k if number else 1) * config.fast.anchor
        label = f"cycle {number}: evolve-prompts"
        yield Planned(label, "evolve-prompts", folder / "prompts.jsonl", calls, training=True)
        if config.eval.every and (config.slow.enabled or number + 1 < config.cycles):
            yield from _measurement(config, f"cycle {number}", folder)
    for step in range(steps if config.slow.enabled else 0):
        place, label = folder / f"step-{step:02d}", f"cycle {number} step {step}"
        rollouts = config.problems_per_step * config.slow.group_size
        yield Planned(f"{label}: rollout", "rollout", place / "rollouts.jsonl", rollouts, training=True)
        yield Planned(f"{label}: train-step", "train-step", place / "train.json")
        updates = number * steps + step + 1
        if config.eval.every and updates % config.eval.every == 0 and updates < config.cycles * steps:
            yield from _measurement(config, label, place, kl=True)


def _measurement(config: RunConfig, label: str, folder: Path, kl: bool = False) -> Iterator[Planned]:
    for task in config.tasks:
        samples = config.eval.problems * config.eval.samples
        output = folder / config.file_of("eval", task)
        yield Planned(config.label_of(f"{label}: eval", task), "eval", output, samples)
        if kl:
            yield _kl(config, f"{label}: kl", task, folder)


def _kl(config: RunConfig, label: str, task: str, folder: Path) -> Planned:
    samples = min(config.eval.problems, config.eval.kl_problems)
    return Planned(config.label_of(label, task), "kl", folder / config.file_of("kl", task), samples)


def plan_lines(config: RunConfig, folder: Path) -> list[str]:
    """A line a cycle, and one for what comes before and after: how many stages of each kind, and their samples."""
    stages = list(planned(config, folder))
    parts: dict[str, list[Planned]] = {}
    for stage in stages:
        parts.setdefault(_part(stage, folder), []).append(stage)
    lines = [f"{folder}: {len(stages)} stages"]
    lines += [f"{place}: {', '.join(_summed(inside))}" for place, inside in parts.items()]
    total = sum(stage.samples for stage in stages if stage.training)
    measured = sum(stage.samples for stage in stages if not stage.training)
    most = f"{total} samples to learn from and {measured} to measure"
    return [*lines, f"at most {most}, of at most {config.max_tokens} tokens each"]


def _part(stage: Planned, folder: Path) -> str:
    first = stage.output.relative_to(folder).parts[0]
    if first == "data" or first.startswith("cycle-"):
        return first
    return "start" if stage.label.startswith("start") else "end"


def _summed(stages: list[Planned]) -> Iterator[str]:
    by_command: dict[str, list[Planned]] = {}
    for stage in stages:
        by_command.setdefault(stage.command, []).append(stage)
    for command, each in by_command.items():
        samples = sum(stage.samples for stage in each)
        yield f"{len(each)} {command}" + (f" ({samples} samples)" if samples else "")
