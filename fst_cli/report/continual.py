"""Continual runs: success on every task throughout, as it is and normalised by what could be reached in each stage.

Normalised success is that of `fst compare`: (success - start) / (best - start), start the arm's own before any
training, best the highest mean over seeds of any arm within the task's own stages.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from fst_cli.measure.continual import within_stage
from fst_cli.measure.curves import curve
from fst_cli.measure.history import Arm
from fst_cli.report.series import PERCENT, Seen, band_words, sample_words, seen, success_label
from fst_cli.report.style import Drawing, Style, legend_below, panels, plain, slug, whole_numbers

SECTION = "Continual learning"
Lines = dict[str, dict[str, list[Seen]]]  # by task, by arm
Scale = dict[str, tuple[float, float]]  # by arm: the success, in percent, that is 0, and that which is 1


def continual_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """Two figures for each sequence of tasks that arms went through."""
    several = [arm for arm in arms if len(arm.tasks) > 1]
    plans = dict.fromkeys(_plan(arm) for arm in several)
    for tasks, every in plans:
        shown = [arm for arm in several if _plan(arm) == (tasks, every)]
        lines: Lines = {task: {arm.name: seen(arm, task) for arm in shown} for task in shown[0].tasks}
        if not any(one for of_task in lines.values() for one in of_task.values()):
            continue
        name, title = f"continual-{slug(tasks)}", ", then ".join(shown[0].tasks)
        words = f"Shaded: the task is the one being learned (it changes every {every} updates). {sample_words(shown)}."
        yield Drawing(
            name,
            SECTION,
            f"{title}: success on every task",
            f"Success on the test problems of each task throughout; band: {band_words(shown)}. {words}",
            _drawn(shown, lines, looks, success_label(shown)),
        )
        scales = {task: scale for task in lines if (scale := _scales(shown, task))}
        if scales:
            left_out = [task for task in lines if task not in scales]
            without = f" Left out, for nothing was gained in its own stage: {', '.join(left_out)}." if left_out else ""
            yield Drawing(
                f"{name}-normalised",
                SECTION,
                f"{title}: normalised by the best of each stage",
                "(success - start) / (best - start): start is the arm's own before training, best the highest mean "
                f"over seeds that any arm reached within the task's own stages (dotted).{without} {words}",
                _drawn(shown, lines, looks, "normalised success", scales),
            )


def _plan(arm: Arm) -> tuple[str, int]:
    """What is learned in which order, and for how many updates at a time."""
    return arm.runs[0].config["task"], arm.runs[0].config["switch_every"]


def _scales(arms: Sequence[Arm], task: str) -> Scale | None:
    """What is 0 and what is 1 for each arm, in percent; None where no arm rose above its start in the task's stages."""
    steps = {arm.name: found for arm in arms if (found := curve(arm, task))}
    length, total = arms[0].runs[0].config["switch_every"], _updates(arms)
    own = [number for number in range(-(-total // length)) if arms[0].tasks[number % len(arms[0].tasks)] == task]
    reached = [
        step.success.mean
        for of_arm in steps.values()
        for number in own
        for step in within_stage(of_arm, number, length)
    ]
    starts = {name: of_arm[0].success.mean for name, of_arm in steps.items()}
    if not reached or max(reached) <= max(starts.values()):
        return None
    return {name: (start * PERCENT, max(reached) * PERCENT) for name, start in starts.items()}


def _updates(arms: Sequence[Arm]) -> int:
    config = arms[0].runs[0].config
    return int(config["cycles"] * config["steps_per_cycle"])


def _drawn(
    arms: Sequence[Arm], lines: Lines, looks: dict[str, Style], label: str, scales: dict[str, Scale] | None = None
) -> Any:
    """A panel a task; with `scales` those that have one, normalised."""
    shown_tasks = list(scales or lines)
    figure, rows = panels(6.6, 1.2 + 2.1 * len(shown_tasks), rows=len(shown_tasks), sharex=True)
    handles: dict[str, Any] = {}
    for axes, task in zip(rows, shown_tasks, strict=True):
        _shade(axes, arms, task)
        means = []
        for name, shown in lines[task].items():
            if not shown:
                continue
            zero, one_is = scales[task][name] if scales else (0.0, 1.0)
            x, look = [one.step.update for one in shown], looks[name]
            mean, low, high = (
                [(percent - zero) / (one_is - zero) for percent in values]
                for values in zip(*((one.mean, one.low, one.high) for one in shown), strict=True)
            )
            axes.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
            (handles[name],) = axes.plot(x, mean, **look.line, markevery=max(1, len(x) // 25))
            means += mean
        if scales:
            axes.axhline(1.0, color="#444444", linestyle=":", linewidth=1.0)
            axes.axhline(0.0, color="#444444", linestyle="-", linewidth=0.6)
            axes.set_ylim(min(-0.25, *means) - 0.05, max(1.1, *means) + 0.1)
        else:
            axes.set_ylim(bottom=0.0)
        axes.set_title(f"on {plain(task)}", loc="left")
        axes.margins(x=0.01)
    rows[-1].set_xlabel("RL updates")
    whole_numbers(rows[-1].xaxis)
    figure.supylabel(label, fontsize=9.5)
    legend_below(figure, list(handles.values()), [plain(name) for name in handles])
    return figure


def _shade(axes: Any, arms: Sequence[Arm], task: str) -> None:
    """Grey behind the updates that learn the task."""
    every, total = arms[0].runs[0].config["switch_every"], _updates(arms)
    for start in range(0, total, every):
        learned = arms[0].tasks[(start // every) % len(arms[0].tasks)]
        if learned == task:
            axes.axvspan(start, min(total, start + every), color="#000000", alpha=0.07, linewidth=0)
        if start:
            axes.axvline(start, color="#888888", linewidth=0.7)
