"""What the figures of success are drawn from: evaluations with their intervals, and who was measured how."""

from collections.abc import Sequence
from dataclasses import dataclass

from fst_cli.data.text import without_credentials
from fst_cli.measure.curves import Step, curve
from fst_cli.measure.history import Arm
from fst_cli.measure.intervals import OverSeeds

PERCENT = 100


@dataclass(frozen=True)
class Seen:
    """An evaluation of an arm, in percent, with its 95 % interval: over seeds, or of one seed over problems."""

    step: Step
    mean: float
    low: float
    high: float


def seen(arm: Arm, task: str) -> list[Seen]:
    """The evaluations of an arm on a task, in order; intervals end at 0 and at 100 %."""
    steps = curve(arm, task)
    if len(arm.runs) > 1:
        limits = [(step.success.low or 0.0, step.success.high or 0.0) for step in steps]
    else:
        found = [point.success[task] for point in arm.runs[0].points if task in point.success]
        limits = [(estimate.low, estimate.high) for estimate in found]
    return [
        Seen(step, step.success.mean * PERCENT, max(0.0, low) * PERCENT, min(1.0, high) * PERCENT)
        for step, (low, high) in zip(steps, limits, strict=True)
    ]


def kl_limits(arm: Arm, task: str) -> list[tuple[float, float]]:
    """95 % intervals of the KL, for the evaluations that `seen` gives; nothing below zero."""
    if len(arm.runs) > 1:
        return [_limits(step.kl) for step in curve(arm, task)]
    points = [point for point in arm.runs[0].points if task in point.success]
    return [(point.kl[task].low, point.kl[task].high) if task in point.kl else (0.0, 0.0) for point in points]


def _limits(found: OverSeeds | None) -> tuple[float, float]:
    return (max(0.0, found.low or 0.0), found.high or 0.0) if found else (0.0, 0.0)


def is_alone(arm: Arm) -> bool:
    """Whether the arm learns one task, from the base model on."""
    return len(arm.tasks) == 1 and not arm.runs[0].config.get("init_from")


def tasks_of(arms: Sequence[Arm]) -> list[str]:
    """The tasks of some arms, each once, in the order of the arms."""
    return list(dict.fromkeys(task for arm in arms for task in arm.tasks))


def sample_words(arms: Sequence[Arm]) -> str:
    """The n of a figure, in words: seeds, test problems, samples."""
    by_count: dict[int, list[str]] = {}
    for arm in arms:
        by_count.setdefault(len(arm.runs), []).append(arm.name)
    if len(by_count) == 1:
        seeds = f"n = {_counted(next(iter(by_count)), 'seed')} an arm"
    else:
        seeds = "n = " + ", ".join(f"{_counted(n, 'seed')} ({', '.join(names)})" for n, names in by_count.items())
    setups = {(arm.runs[0].config["eval"]["problems"], arm.runs[0].config["eval"]["samples"]) for arm in arms}
    problems = " or ".join(f"{_counted(p, 'test problem')} × {_counted(s, 'sample')}" for p, s in sorted(setups))
    return f"{seeds}, {problems}"


def band_words(arms: Sequence[Arm]) -> str:
    """What an interval is here."""
    counts = {len(arm.runs) > 1 for arm in arms}
    over_seeds, one = "95 % over seeds (Student's t)", "95 % over test problems (one seed)"
    return " or ".join(words for several, words in ((True, over_seeds), (False, one)) if several in counts)


def success_label(arms: Sequence[Arm]) -> str:
    """Of an axis."""
    samples = {arm.runs[0].config["eval"]["samples"] for arm in arms}
    return f"success, mean@{samples.pop()} (%)" if len(samples) == 1 else "success (%)"


def origin(arm: Arm) -> str:
    """The run that an arm's weights come from: what is left of the path before the cycle, at most three parts."""
    parts = without_credentials(str(arm.runs[0].config["init_from"])).replace("\\", "/").split("/")
    before = [part for part in parts if part]
    cut = next((place for place, part in enumerate(before) if part.startswith("cycle-")), len(before))
    return "/".join(before[max(0, cut - 3) : cut]) or "/".join(before)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
