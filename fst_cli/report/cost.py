"""Where the time went."""

from collections.abc import Iterator, Sequence
from typing import Any

from fst_cli.data.errors import DataError
from fst_cli.data.files import read_json
from fst_cli.measure.history import Arm, History
from fst_cli.report.style import Drawing, legend_below, panels, plain, style_at

STAGES = ["rollout", "train-step", "evolve-prompts", "eval", "kl"]


def cost_figures(arms: Sequence[Arm]) -> Iterator[Drawing]:
    """Seconds by stage, a bar an arm."""
    seconds = {arm.name: found for arm in arms if (found := seconds_of(arm))}
    if seconds:
        counts = sorted({len(arm.runs) for arm in arms if arm.name in seconds})
        yield Drawing(
            "seconds",
            "Cost",
            "Time by stage",
            "Wall-clock time by stage, evaluations included; mean over the seeds of an arm "
            f"(n = {' or '.join(map(str, counts))}).",
            _drawn(seconds),
        )


def seconds_of(arm: Arm) -> dict[str, float]:
    """Seconds by stage, mean over the runs that have begun to count."""
    each = [found for run in arm.runs if (found := _seconds(run))]
    stages = dict.fromkeys(stage for found in each for stage in found)
    return {stage: sum(found.get(stage, 0.0) for found in each) / len(each) for stage in stages}


def _seconds(run: History) -> dict[str, float]:
    path = run.folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        return {stage: float(cost["seconds"]) for stage, cost in read_json(path).get("cost", {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(f"{path}: `cost` holds no seconds by stage") from None


def _drawn(seconds: dict[str, dict[str, float]]) -> Any:
    names = list(seconds)
    found = dict.fromkeys(stage for stages in seconds.values() for stage in stages)
    stages = [stage for stage in STAGES if stage in found] + [stage for stage in found if stage not in STAGES]
    biggest = max(sum(stages.values()) for stages in seconds.values())
    unit, word = (60.0, "min") if biggest > 600 else (1.0, "s")
    # What nobody could see in a bar does not take a place in the legend.
    stages = [stage for stage in stages if max(s.get(stage, 0.0) for s in seconds.values()) > 0.002 * biggest]
    figure, (axes,) = panels(6.6, 1.4 + 0.36 * len(names))
    lefts, handles = [0.0] * len(names), []
    for place, stage in enumerate(stages):
        look, values = style_at(place), [seconds[name].get(stage, 0.0) / unit for name in names]
        dressed = {"color": look.colour, "hatch": look.hatch, "edgecolor": "white", "linewidth": 0.6}
        handles.append(axes.barh(range(len(names)), values, 0.68, left=lefts, **dressed))
        lefts = [left + value for left, value in zip(lefts, values, strict=True)]
    for row, total in enumerate(lefts):
        axes.annotate(f"{total:.0f} {word}" if total >= 10 else f"{total:.1f} {word}", (total, row), (4, 0),
                      textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"wall-clock time ({word})")
    axes.margins(x=0.1)
    legend_below(figure, handles, [plain(stage) for stage in stages])
    return figure
