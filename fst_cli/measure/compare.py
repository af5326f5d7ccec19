"""Two arms against each other, seed by seed (PAPER section 6): samples to the other's best, KL at matched reward, ends.

`share` is always the first arm's figure over the second's: updates and rollouts needed, KL at the same reward; below 1
the first arm is better off. The running best of a noisy curve is biased upwards, and that of both arms alike.
"""

from typing import Any

from fst_cli.data.errors import UsageError
from fst_cli.measure.continual import stages
from fst_cli.measure.curves import Axis, curve
from fst_cli.measure.history import Arm, History, Point
from fst_cli.measure.intervals import over_seeds
from fst_cli.measure.scaling import Fit, fit_sigmoid

LEVELS = (0.5, 0.75, 0.9, 1.0)  # of the way from the lower start to the best that both reached


def compare(ours: Arm, theirs: Arm) -> dict[str, Any]:
    """All comparisons by task, ready for JSON; of continual runs, what each stage acquired, too.

    Raises UsageError where the arms share no seed or no task.
    """
    pairs = _pairs(ours, theirs)
    tasks = [task for task in ours.tasks if task in theirs.tasks]
    if not tasks:
        raise UsageError(f"{ours.name} and {theirs.name} have no task in common")
    found: dict[str, Any] = {
        "arms": [ours.name, theirs.name],
        "seeds": [run.seed for run, _ in pairs],
        "tasks": {task: _compare_task(ours, theirs, pairs, task) for task in tasks},
    }
    if len(ours.tasks) > 1 and ours.tasks == theirs.tasks:
        found["stages"] = stages([ours, theirs])
    return found


def _pairs(ours: Arm, theirs: Arm) -> list[tuple[History, History]]:
    by_seed = {run.seed: run for run in theirs.runs}
    pairs = [(run, by_seed[run.seed]) for run in ours.runs if run.seed in by_seed]
    if not pairs:
        raise UsageError(f"{ours.name} and {theirs.name} have no seed in common", hint="run both with the same --seed")
    return pairs


def _compare_task(ours: Arm, theirs: Arm, pairs: list[tuple[History, History]], task: str) -> dict[str, Any]:
    points = [(_of(a, task), _of(b, task)) for a, b in pairs]
    finals = [a[-1].success[task].mean - b[-1].success[task].mean for a, b in points]
    return {
        "final": {
            ours.name: _ends([a for a, _ in points], task),
            theirs.name: _ends([b for _, b in points], task),
            "difference": over_seeds(finals).model_dump(),
        },
        "to_our_best": _to_best(points, task, whose=0),
        "to_their_best": _to_best(points, task, whose=1),
        "kl_at_matched_reward": [_matched(points, task, level) for level in LEVELS],
        "fits": {arm.name: _fit(arm, task) for arm in (ours, theirs)},
    }


def _of(run: History, task: str) -> list[Point]:
    points = [point for point in run.points if task in point.success]
    if not points:
        raise UsageError(f"{run.folder} has no evaluation of {task} yet")
    return points


def _ends(curves: list[list[Point]], task: str) -> dict[str, Any]:
    last = [points[-1] for points in curves]
    found: dict[str, Any] = {"success": over_seeds([point.success[task].mean for point in last]).model_dump()}
    found["best"] = over_seeds([_best(points, task) for points in curves]).model_dump()
    found["updates"] = [point.update for point in last]
    found["rollouts"] = over_seeds([point.rollouts for point in last]).model_dump()
    if all(task in point.kl for point in last):
        found["kl"] = over_seeds([point.kl[task].mean for point in last]).model_dump()
    return found


def _best(points: list[Point], task: str) -> float:
    return max(point.success[task].mean for point in points)


def _reach(points: list[Point], task: str, level: float) -> Point | None:
    return next((point for point in points if point.success[task].mean >= level), None)


def _to_best(points: list[tuple[list[Point], list[Point]]], task: str, whose: int) -> dict[str, Any]:
    """Where each of a pair first reaches the best of the `whose`-th, over the seeds in which both do."""
    reached: list[tuple[Point, Point]] = []
    for pair in points:
        best = _best(pair[whose], task)
        ours, theirs = (_reach(curve, task, best) for curve in pair)
        if ours and theirs:
            reached.append((ours, theirs))
    found: dict[str, Any] = {"seeds": len(points), "reached_by": len(reached)}
    for axis in ("update", "rollouts", "tokens", "seconds") if reached else ():
        both = [(getattr(ours, axis), getattr(theirs, axis)) for ours, theirs in reached]
        found[axis] = _both(both)
    return found


def _both(pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Ours and theirs over seeds, and the share of ours in theirs where theirs is not 0."""
    shares = [ours / theirs for ours, theirs in pairs if theirs]
    return {
        "ours": over_seeds([ours for ours, _ in pairs]).model_dump(),
        "theirs": over_seeds([theirs for _, theirs in pairs]).model_dump(),
        "share": over_seeds(shares).model_dump() if shares else None,
    }


def _matched(points: list[tuple[list[Point], list[Point]]], task: str, level: float) -> dict[str, Any]:
    """KL of both where they first reach the same reward, interpolated; their ratio, over the seeds that have both."""
    both, rewards = [], []
    for ours, theirs in points:
        start = min(ours[0].success[task].mean, theirs[0].success[task].mean)
        top = min(_best(_with_kl(ours, task), task), _best(_with_kl(theirs, task), task))
        reward = start + level * (top - start)
        kls = kl_at(ours, task, reward), kl_at(theirs, task, reward)
        if kls[0] is not None and kls[1] is not None:
            rewards.append(reward)
            both.append((kls[0], kls[1]))
    found: dict[str, Any] = {"level": level, "seeds": len(both)}
    return found | {"reward": over_seeds(rewards).model_dump(), "kl": _both(both)} if both else found


def kl_at(points: list[Point], task: str, reward: float) -> float | None:
    """KL where a run first reaches `reward`, linear from the evaluation before; None where it never does."""
    before: Point | None = None
    for point in _with_kl(points, task):
        here = point.success[task].mean
        if here >= reward:
            if before is None:
                return point.kl[task].mean
            below = before.success[task].mean
            part = (reward - below) / (here - below)
            return before.kl[task].mean + part * (point.kl[task].mean - before.kl[task].mean)
        before = point
    return None


def _with_kl(points: list[Point], task: str) -> list[Point]:
    return [point for point in points if task in point.kl]


def series(arm: Arm, task: str, axis: Axis = "update") -> tuple[list[float], list[float]]:
    """What a fit is made to: success over RL steps, from the last evaluation before the first step on."""
    steps = curve(arm, task)
    first = max((number for number, step in enumerate(steps) if step.update == 0), default=0)
    kept = [step for number, step in enumerate(steps) if number == first or (number > first and not step.evolved)]
    return [step.at(axis) for step in kept], [step.success.mean for step in kept]


def _fit(arm: Arm, task: str) -> dict[str, Any]:
    fit = fit_sigmoid(*series(arm, task))
    return vars(fit) if isinstance(fit, Fit) else {"refused": fit.reason}
