"""{base, trained weights} × {seed, evolved prompt}: which part of a gain is the weights' and which the prompts'."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fst_cli.data.errors import DataError
from fst_cli.data.files import read_json
from fst_cli.measure.history import Arm, History
from fst_cli.measure.intervals import Estimate, over_seeds
from fst_cli.report.series import PERCENT, band_words, sample_words, success_label
from fst_cli.report.style import Drawing, Style, legend_below, panels, plain, slug

CELLS = ["base+seed", "base+evolved", "trained+seed", "trained+evolved"]
Bars = dict[str, tuple[float, float, float]]  # by cell: mean, low, high, in percent


def grid_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """A figure for every task and way of training that arms have in common."""
    for (task, way), shown in _groups(arms).items():
        bars = {arm.name: found for arm in shown if (found := cells_of(arm, task))}
        if not bars:
            continue
        kept = [arm for arm in shown if arm.name in bars]
        missing = "" if all(len(b) == 4 for b in bars.values()) else " An arm without one of the loops has two cells."
        yield Drawing(
            f"grid-{slug(task)}{way and f'-{slug(way)}'}",
            "Division of labour",
            f"{task}{way and f' ({way})'}: weights × prompt at the end",
            f"Success on the test problems of {task} for each pair of weights and prompt, after the last update; "
            f"whisker: {band_words(kept)}.{missing} {sample_words(kept)}.",
            _drawn(kept, bars, looks),
        )


def cells_of(arm: Arm, task: str) -> Bars:
    """Success by cell, for the cells that every finished run of the arm has; empty where none has finished."""
    found = [grid for run in arm.runs if (grid := _grid(run, task))]
    bars: Bars = {}
    for cell in CELLS:
        if not found or not all(cell in grid for grid in found):
            continue
        estimates = [grid[cell] for grid in found]
        over = over_seeds([one.mean for one in estimates])
        low, high = (estimates[0].low, estimates[0].high) if over.low is None else (over.low, over.high or 0.0)
        bars[cell] = (over.mean * PERCENT, max(0.0, low) * PERCENT, min(1.0, high) * PERCENT)
    return bars


def _groups(arms: Sequence[Arm]) -> dict[tuple[str, str], list[Arm]]:
    groups: dict[tuple[str, str], list[Arm]] = {}
    for arm in arms:
        way = (
            "continual" if len(arm.tasks) > 1 else "from trained weights" if arm.runs[0].config.get("init_from") else ""
        )
        for task in arm.tasks:
            groups.setdefault((task, way), []).append(arm)
    return groups


def _grid(run: History, task: str) -> dict[str, Estimate]:
    """The cells of a run's last evaluation, {} before it; a grid that is older than the run's last cycle is none."""
    within = f"-{re.sub(r'[^A-Za-z0-9_-]+', '-', task)}" if len(run.tasks) > 1 else ""
    path = run.folder / f"grid{within}.stage.json"
    if not path.exists():
        return {}
    stage, key = read_json(path), f"success_mean@{run.config['eval']['samples']}"
    try:
        newest = stage["inputs"]["weights" if run.config["slow"]["enabled"] else "prompts"]["path"]
        if f"cycle-{run.config['cycles'] - 1:03d}" not in Path(newest).parts:
            return {}
        return {cell: Estimate.model_validate(values[key]) for cell, values in stage["figures"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not the figures of a grid: {error}") from None


def _drawn(arms: Sequence[Arm], bars: dict[str, Bars], looks: dict[str, Style]) -> Any:
    figure, (axes,) = panels(6.6, 4.0)
    cells = [cell for cell in CELLS if any(cell in found for found in bars.values())]
    width, handles = 0.8 / len(arms), []
    for place, arm in enumerate(arms):
        found, look = bars[arm.name], looks[arm.name]
        x = [number + (place - (len(arms) - 1) / 2) * width for number, cell in enumerate(cells) if cell in found]
        mean, low, high = zip(*[found[cell] for cell in cells if cell in found], strict=True)
        spans = [[m - a for m, a in zip(mean, low, strict=True)], [b - m for m, b in zip(mean, high, strict=True)]]
        dressed = {"color": look.colour, "hatch": look.hatch, "edgecolor": "white", "linewidth": 0.6}
        handles.append(axes.bar(x, mean, width * 0.92, **dressed))
        axes.errorbar(x, mean, yerr=spans, fmt="none", ecolor="#222222", elinewidth=1.0, capsize=2.5)
        if len(arms) <= 4:
            for at, value, top in zip(x, mean, high, strict=True):
                axes.annotate(f"{value:.0f}", (at, top), (0, 3), textcoords="offset points", ha="center", fontsize=7.5)
    axes.set_xticks(range(len(cells)), [cell.replace("+", " weights,\n") + " prompt" for cell in cells])
    axes.set(ylabel=success_label(arms), xlabel="")
    axes.grid(visible=False, axis="x")
    axes.margins(y=0.12)
    axes.set_ylim(0.0, max(5.0, axes.get_ylim()[1]))
    legend_below(figure, handles, [plain(arm.name) for arm in arms])
    return figure
