"""Sigmoids through the curves, with the asymptote that each arm is heading for."""

from collections.abc import Iterator, Sequence
from typing import Any

from fst_cli.measure.compare import series
from fst_cli.measure.curves import curve
from fst_cli.measure.history import Arm
from fst_cli.measure.scaling import Fit, Refusal, fit_sigmoid
from fst_cli.report.series import PERCENT, is_alone, sample_words, success_label, tasks_of
from fst_cli.report.style import Drawing, Style, legend_below, panels, plain, slug, whole_numbers

Points = tuple[list[float], list[float]]  # updates, mean success in [0, 1]


def fit_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """A figure a task, where at least one arm's curve supports a fit; the caption says why others do not."""
    alone = [arm for arm in arms if is_alone(arm)]
    for task in tasks_of(alone):
        points = {arm.name: series(arm, task) for arm in alone if arm.tasks == [task] and curve(arm, task)}
        points = {name: found for name, found in points.items() if any(found[0])}
        fits = {name: fit_sigmoid(*found) for name, found in points.items()}
        if not any(isinstance(fit, Fit) for fit in fits.values()):
            continue
        shown = [arm for arm in alone if arm.name in points]
        words = " ".join(_words(name, fit) for name, fit in fits.items())
        yield Drawing(
            f"fit-{slug(task)}",
            "Asymptotes",
            f"{task}: sigmoid fits and asymptotes",
            "R(C) = R0 + (A - R0) / (1 + (Cmid / C)^B) over C updates, fitted to mean success over seeds, as in `fst "
            "compare`: from the last evaluation before the first update on, without those right after an evolution "
            "later on. At the right: the asymptote A with its 95 % interval, by bootstrap of the residuals; thin: "
            f"beyond an arm's evaluations. {words} {sample_words(shown)}.",
            _drawn(shown, points, fits, looks),
        )


def _words(name: str, fit: Fit | Refusal) -> str:
    if isinstance(fit, Refusal):
        return f"{name}: no fit, for {fit.reason}."
    (a, b), (c, d) = fit.intervals["asymptote"], fit.intervals["midpoint"]
    return (
        f"{name}: A = {fit.asymptote * PERCENT:.1f} % [{a * PERCENT:.1f}, {b * PERCENT:.1f}], "
        f"Cmid = {fit.midpoint:.1f} [{c:.1f}, {d:.1f}], B = {fit.exponent:.2f}."
    )


def _drawn(
    arms: Sequence[Arm], points: dict[str, Points], fits: dict[str, Fit | Refusal], looks: dict[str, Style]
) -> Any:
    import numpy as np
    from matplotlib.lines import Line2D

    figure, (axes,) = panels(6.6, 4.2)
    last = max(max(x) for x, _ in points.values())
    tops, handles = [1.0], []
    for place, arm in enumerate(arms):
        (x, y), fit, look = points[arm.name], fits[arm.name], looks[arm.name]
        dots: dict[str, Any] = {"marker": look.marker, "color": look.colour, "markeredgewidth": 1.1}
        axes.plot(x, [value * PERCENT for value in y], linestyle="", **dots)
        dash = look.dash if isinstance(fit, Fit) else ""
        handles.append(Line2D([], [], linestyle=dash, **dots))
        tops += [value * PERCENT for value in y]
        if isinstance(fit, Fit):
            for begin, end, width in ((0.0, max(x), 1.7), (max(x), last, 0.8)):
                x_N = np.linspace(begin, end, 200)[1:]
                drawn = {"color": look.colour, "linestyle": look.dash, "linewidth": width}
                axes.plot(x_N, fit.predict(x_N) * PERCENT, **drawn)
            low, high = (limit * PERCENT for limit in fit.intervals["asymptote"])
            # Beyond the last point, one beside the other: asymptotes often lie together.
            at, level = last * (1.06 + 0.035 * place), fit.asymptote * PERCENT
            axes.plot([last, at], [level, level], color=look.colour, linewidth=0.8, linestyle=":")
            axes.errorbar([at], [level], yerr=[[max(0.0, level - low)], [max(0.0, high - level)]], capsize=3, **dots)
            tops.append(high)
    axes.set(xlabel="RL updates", ylabel=success_label(arms), ylim=(-0.02 * max(tops), min(106.0, max(tops) * 1.06)))
    whole_numbers(axes.xaxis)
    legend_below(figure, handles, [plain(arm.name) for arm in arms])
    return figure
