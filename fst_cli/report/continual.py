"""Continual runs: success on every task throughout, as it is and normalised by what could be reached in each stage.

Normalised success is (s - s0) / (best - s0): s0 the mean over arms before any training, best the highest mean of any
arm within the task's own stages. So 0 is where the runs started and 1 the best found while learning the task.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from fst_cli.measure.history import Arm
from fst_cli.report.series import Seen, band_words, sample_words, seen, success_label
from fst_cli.report.style import Drawing, Style, legend_below, panels, plain, slug, whole_numbers

SECTION = "Continual learning"
Lines = dict[str, dict[str, list[Seen]]]  # by task, by arm


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
            _drawn(shown, lines, looks, success_label(shown), dict.fromkeys(lines, (0.0, 1.0))),
        )
        scales = {task: scale for task in lines if (scale := _scale(shown, lines[task], task))}
        if scales:
            left_out = [task for task in lines if task not in scales]
            without = f" Left out, for nothing was gained in its own stage: {', '.join(left_out)}." if left_out else ""
            yield Drawing(
                f"{name}-normalised",
                SECTION,
                f"{title}: normalised by the best of each stage",
                "(success - start) / (best - start): start is the mean of the arms before training, best the highest "
                f"mean of any arm within the task's own stages; the dotted line at 1 is that best.{without} {words}",
                _drawn(shown, lines, looks, "normalised success", scales),
            )


def stage_of(update: float, evolved: bool, every: int, tasks: Sequence[str]) -> str:
    """The task that was being learned at an evaluation: after an evolution it is the coming update's."""
    last = update if evolved else max(0.0, update - 1)
    return tasks[int(last // every) % len(tasks)]


def _plan(arm: Arm) -> tuple[str, int]:
    """What is learned in which order, and for how many updates at a time."""
    return arm.runs[0].config["task"], arm.runs[0].config["switch_every"]


def _scale(arms: Sequence[Arm], of_task: dict[str, list[Seen]], task: str) -> tuple[float, float] | None:
    """Start and best of a task, in percent; None where no arm rose above the start in the task's own stages."""
    every, tasks = arms[0].runs[0].config["switch_every"], arms[0].tasks
    starts = [shown[0].mean for shown in of_task.values() if shown]
    own = [
        one.mean
        for shown in of_task.values()
        for one in shown[1:]
        if stage_of(one.step.update, one.step.evolved, every, tasks) == task
    ]
    start = sum(starts) / len(starts)
    return (start, max(own)) if own and max(own) > start else None


def _drawn(
    arms: Sequence[Arm], lines: Lines, looks: dict[str, Style], label: str, scales: dict[str, tuple[float, float]]
) -> Any:
    """A panel for each task of `scales`: what is drawn as 0 and what as 1."""
    figure, rows = panels(6.6, 1.2 + 2.1 * len(scales), rows=len(scales), sharex=True)
    handles: dict[str, Any] = {}
    for axes, (task, (zero, one_is)) in zip(rows, scales.items(), strict=True):

        def value(percent: float, zero: float = zero, one_is: float = one_is) -> float:
            return (percent - zero) / (one_is - zero)

        _shade(axes, arms, task)
        for name, shown in lines[task].items():
            x, look = [one.step.update for one in shown], looks[name]
            low, high = [value(one.low) for one in shown], [value(one.high) for one in shown]
            axes.fill_between(x, low, high, color=look.colour, alpha=0.16, linewidth=0)
            y = [value(one.mean) for one in shown]
            (handles[name],) = axes.plot(x, y, **look.line, markevery=max(1, len(x) // 25))
        if label.startswith("normalised"):
            axes.axhline(1.0, color="#444444", linestyle=":", linewidth=1.0)
            axes.axhline(0.0, color="#444444", linestyle="-", linewidth=0.6)
            values = [value(one.mean) for shown in lines[task].values() for one in shown]
            axes.set_ylim(min(-0.25, *values) - 0.05, max(1.1, *values) + 0.1)
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
    config = arms[0].runs[0].config
    every, total = config["switch_every"], config["cycles"] * config["steps_per_cycle"]
    for start in range(0, total, every):
        learned = arms[0].tasks[(start // every) % len(arms[0].tasks)]
        if learned == task:
            axes.axvspan(start, min(total, start + every), color="#000000", alpha=0.07, linewidth=0)
        if start:
            axes.axvline(start, color="#888888", linewidth=0.7)
