"""Curves over the seeds of an arm: success and KL along training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fst_cli.measure.history import Arm, Point
from fst_cli.measure.intervals import OverSeeds, over_seeds

Axis = Literal["update", "rollouts"]


@dataclass(frozen=True)
class Step:
    """One evaluation of all seeds: where it was on both axes, and what was found."""

    update: float
    rollouts: float
    evolved: bool
    success: OverSeeds
    kl: OverSeeds | None

    def at(self, axis: Axis) -> float:
        """Its place on an axis."""
        return self.update if axis == "update" else self.rollouts


def curve(arm: Arm, task: str) -> list[Step]:
    """The arm's evaluations of a task, seed by seed the same ones, up to the last that every seed has reached.

    Rollouts are the mean over seeds: an evolution stops where its next scoring would pass the budget.
    """
    columns = zip(*([point for point in run.points if task in point.success] for run in arm.runs), strict=False)
    return [_step(points, task) for points in columns]


def _step(points: tuple[Point, ...], task: str) -> Step:
    def mean(value: Callable[[Point], float]) -> float:
        return sum(value(point) for point in points) / len(points)

    kl = over_seeds([point.kl[task].mean for point in points]) if all(task in point.kl for point in points) else None
    return Step(
        update=mean(lambda point: point.update),
        rollouts=mean(lambda point: point.rollouts),
        evolved=points[0].evolved,
        success=over_seeds([point.success[task].mean for point in points]),
        kl=kl,
    )
