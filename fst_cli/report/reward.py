"""Success along training: against updates, rollouts and KL, from the base model and from other weights."""

from collections.abc import Iterator, Sequence
from typing import Any

from fst_cli.measure.curves import Axis
from fst_cli.measure.history import Arm
from fst_cli.report.series import (
    Seen,
    band_words,
    is_alone,
    kl_limits,
    origin,
    sample_words,
    seen,
    success_label,
    tasks_of,
)  # fmt: skip
from fst_cli.report.style import Drawing, Style, legend_below, panels, plain, slug, whole_numbers

SECTION = "Success along training"
LABELS: dict[Axis, str] = {"update": "RL updates", "rollouts": "rollouts of both loops, mean over seeds"}


def reward_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """Two figures a task: success against updates and, for equal compute, against the rollouts of both loops."""
    alone = [arm for arm in arms if is_alone(arm)]
    for task in tasks_of(alone):
        shown = [arm for arm in alone if arm.tasks == [task] and seen(arm, task)]
        if not shown:
            continue
        flat = [arm.name for arm in shown if not _moves(seen(arm, task), "update")]
        words = f"Line: mean; band: {band_words(shown)}; open marker: right after an evolution. {sample_words(shown)}."
        lines = f" Without updates, {', '.join(flat)}: its last success as a horizontal line." if flat else ""
        yield Drawing(
            f"reward-updates-{slug(task)}",
            SECTION,
            f"{task}: success against RL updates",
            f"Success on the test problems of {task} under the lead prompt. {words}{lines}",
            along(shown, task, looks, "update"),
        )
        yield Drawing(
            f"reward-rollouts-{slug(task)}",
            SECTION,
            f"{task}: success against rollouts",
            f"The same evaluations at equal compute: rollouts sampled for RL and for scoring prompts. {words}",
            along(shown, task, looks, "rollouts"),
        )


def plasticity_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """A figure a task: arms that start from weights trained on something else, and RL from the base model."""
    moved = [arm for arm in arms if arm.runs[0].config.get("init_from") and len(arm.tasks) == 1]
    for task in tasks_of(moved):
        begun = [arm for arm in moved if arm.tasks == [task] and seen(arm, task)]
        base = [a for a in arms if is_alone(a) and a.tasks == [task] and a.runs[0].method == "rl" and seen(a, task)]
        if not begun:
            continue
        origins = "; ".join(f"{arm.name} starts from {origin(arm)}" for arm in begun)
        beside = f" {', '.join(arm.name for arm in base)}: from the base model." if base else ""
        yield Drawing(
            f"plasticity-{slug(task)}",
            "Plasticity",
            f"Learning {task} after something else",
            f"Success on {task} while it is learned from trained weights: {origins}.{beside} "
            f"Band: {band_words(begun + base)}. {sample_words(begun + base)}.",
            along(begun + base, task, looks, "update"),
        )


def kl_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """A figure a task: success against the drift from the base model."""
    alone = [arm for arm in arms if is_alone(arm)]
    for task in tasks_of(alone):
        shown = [arm for arm in alone if arm.tasks == [task] and any(one.step.kl for one in seen(arm, task))]
        if not any(one.step.kl and one.step.kl.mean for arm in shown for one in seen(arm, task)):
            continue
        yield Drawing(
            f"reward-kl-{slug(task)}",
            "Drift",
            f"{task}: success against KL to the base model",
            "Token-level KL(trained ‖ base) on fresh samples for test problems, under the lead prompt; a line follows "
            f"training, crosses are intervals: {band_words(shown)}. Open marker: right after an evolution. "
            f"{sample_words(shown)} (KL: {shown[0].runs[0].config['eval']['kl_problems']} problems).",
            _against_kl(shown, task, looks),
        )


def along(arms: Sequence[Arm], task: str, looks: dict[str, Style], axis: Axis) -> Any:
    """Success of arms on a task along an axis."""
    figure, (axes,) = panels(6.6, 4.2)
    handles = [draw_line(axes, seen(arm, task), looks[arm.name], axis) for arm in arms]
    axes.set(xlabel=LABELS[axis], ylabel=success_label(arms))
    whole_numbers(axes.xaxis)
    fit_limits(axes, [one for arm in arms for one in seen(arm, task)])
    legend_below(figure, handles, [plain(arm.name) for arm in arms])
    return figure


def draw_line(axes: Any, shown: list[Seen], look: Style, axis: Axis) -> Any:
    """One arm: a line with its band; what makes no updates is a level, drawn from edge to edge."""
    x = [one.step.at(axis) for one in shown]
    if axis == "update" and not _moves(shown, axis):
        axes.axhspan(shown[-1].low, shown[-1].high, color=look.colour, alpha=0.08, linewidth=0)
        places = [place / 8 for place in range(9)]
        (line,) = axes.plot(
            places, [shown[-1].mean] * 9, **look.line, markevery=slice(1, 8), transform=axes.get_yaxis_transform()
        )
        return line
    axes.fill_between(x, [s.low for s in shown], [s.high for s in shown], color=look.colour, alpha=0.16, linewidth=0)
    return _marked(axes, x, shown, look)


def fit_limits(axes: Any, shown: Sequence[Seen]) -> None:
    """Percent from zero on, with room above the highest band."""
    top = max((one.high for one in shown), default=100.0)
    axes.set_ylim(-0.02 * top, min(103.0, max(1.0, top * 1.06)))


def _against_kl(arms: Sequence[Arm], task: str, looks: dict[str, Style]) -> Any:
    figure, (axes,) = panels(6.6, 4.2)
    handles = []
    for arm in arms:
        both = [(s, limits) for s, limits in zip(seen(arm, task), kl_limits(arm, task), strict=True) if s.step.kl]
        shown, look = [one for one, _ in both], looks[arm.name]
        x = [one.step.kl.mean for one in shown if one.step.kl]
        y = [one.mean for one in shown]
        across = [[abs(v - low) for v, (_, (low, _)) in zip(x, both, strict=True)],
                  [abs(high - v) for v, (_, (_, high)) in zip(x, both, strict=True)]]  # fmt: skip
        upward = [[one.mean - one.low for one in shown], [one.high - one.mean for one in shown]]
        axes.errorbar(x, y, yerr=upward, xerr=across, fmt="none", ecolor=look.colour, elinewidth=0.8, alpha=0.4)
        handles.append(_marked(axes, x, shown, look))
    axes.set(xlabel="KL to the base model (nats per token)", ylabel=success_label(arms))
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0] * 0.3))
    fit_limits(axes, [one for arm in arms for one in seen(arm, task)])
    legend_below(figure, handles, [plain(arm.name) for arm in arms])
    return figure


def _marked(axes: Any, x: list[float], shown: list[Seen], look: Style) -> Any:
    """The line, its markers open where an evolution has just ended."""
    y = [one.mean for one in shown]
    # Of many evaluations every marker would hide the line.
    (line,) = axes.plot(x, y, **look.line, markevery=max(1, len(x) // 25))
    opened = [(a, b) for a, b, one in zip(x, y, shown, strict=True) if one.step.evolved]
    if opened:
        hollow = {"linestyle": "", "marker": look.marker, "color": look.colour, "markerfacecolor": "white"}
        axes.plot([a for a, _ in opened], [b for _, b in opened], **hollow, markeredgewidth=1.1, zorder=3)
    return line


def _moves(shown: list[Seen], axis: Axis) -> bool:
    return any(one.step.at(axis) > 0 for one in shown)
