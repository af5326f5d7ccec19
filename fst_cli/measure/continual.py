"""Continual learning: what each stage of a run with several tasks acquired, and what was kept to the end.

Normalised per stage (PAPER section 6): 0 is a task's success when the run began, 1 the best that any of the arms
reached in the task's own stage, as a mean over seeds. [read: the paper names the measure and not its formula.]
"""

from typing import Any

from fst_cli.measure.curves import Step, curve
from fst_cli.measure.history import Arm
from fst_cli.measure.intervals import over_seeds


def stages(arms: list[Arm]) -> list[dict[str, Any]]:
    """A record a stage: its task, and each arm's success before it, after it and at the run's end."""
    length = arms[0].runs[0].config["switch_every"]
    found = []
    for number, task in enumerate(arms[0].tasks):
        best = max(_best_in_stage(arm, task, number, length) for arm in arms)
        found.append(
            {"task": task, "best": best, "arms": {arm.name: _stage(arm, task, number, length, best) for arm in arms}}
        )
    return found


def within_stage(steps: list[Step], number: int, length: int) -> list[Step]:
    """The evaluations of a stage, from its first evolution on; the evolution after its last step is the next one's."""
    first, last = number * length, (number + 1) * length
    return [step for step in steps if (first <= step.update < last if step.evolved else first < step.update <= last)]


def _best_in_stage(arm: Arm, task: str, number: int, length: int) -> float:
    inside = within_stage(curve(arm, task), number, length)
    return max((step.success.mean for step in inside), default=0.0)


def _stage(arm: Arm, task: str, number: int, length: int, best: float) -> dict[str, Any]:
    steps = curve(arm, task)
    inside = within_stage(steps, number, length)
    before = [step for step in steps if step.update <= number * length and step not in inside]
    if not inside or not before:
        return {}
    start, entered, left, end = (step.success for step in (steps[0], before[-1], inside[-1], steps[-1]))
    gains = [after - earlier for after, earlier in zip(left.values, entered.values, strict=True)]
    room = best - start.mean
    return {
        "before": entered.model_dump(),
        "after": left.model_dump(),
        "acquired": over_seeds(gains).model_dump(),
        "end": end.model_dump(),
        "normalised_after": (left.mean - start.mean) / room if room > 0 else None,
        "normalised_end": (end.mean - start.mean) / room if room > 0 else None,
    }
