"""What a run would do, for `fst cycle --dry-run`: the stages in order and what they cost."""

from pathlib import Path

from fst_cli.cycle.config import RunConfig


def plan_lines(config: RunConfig, folder: Path) -> list[str]:
    """One line a stage: the file it writes, then the cost in samples."""
    lines = []
    for task in config.tasks:
        train = len(config.cycles_of(task)) * config.problems_per_cycle
        lines.append(f"{folder}/data/{config.file_of('train', task)}: {train} problems")
        lines.append(f"{folder}/data/{config.file_of('test', task)}: {config.eval.problems} problems")
    total = 0
    for cycle in range(config.cycles):
        place = f"{folder}/cycle-{cycle:03d}"
        if config.fast.enabled:
            members = config.fast.k if cycle else 1
            calls = config.fast.budget + members * config.fast.anchor
            total += calls
            lines.append(f"{place}/prompts.jsonl: up to {calls} samples, {config.fast.k} prompts")
        if config.slow.enabled:
            rollouts = config.problems_per_step * config.slow.group_size
            total += rollouts * config.steps_per_cycle
            lines.append(
                f"{place}/step-00..{config.steps_per_cycle - 1:02d}/: {config.steps_per_cycle} times {rollouts} "
                "rollouts and one update"
            )
    cells = (1 + config.fast.enabled) * (1 + config.slow.enabled)
    each = len(config.tasks) * config.eval.problems * config.eval.samples
    if config.eval.every:
        times = 1 + config.fast.enabled * config.cycles
        if config.slow.enabled:
            times += (config.cycles * config.steps_per_cycle - 1) // config.eval.every
        lines.append(f"{folder}/**/{config.file_of('eval', config.tasks[0])}: {times} times {each} samples")
    lines.append(f"{folder}/{config.file_of('grid', config.tasks[0])}: {cells} x {each} samples")
    if config.slow.enabled:
        lines.append(f"{folder}/{config.file_of('kl', config.tasks[0])}: {config.eval.kl_problems} samples")
    return [*lines, f"in training: up to {total} samples of at most {config.max_tokens} tokens"]
