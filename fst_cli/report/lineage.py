"""The ancestors of a population as a tree: columns are generations within cycles, rows keep branches apart."""

from collections.abc import Sequence
from typing import Any

from fst_cli.data.records import Prompt
from fst_cli.report.style import panels

NAMED = 60  # nodes up to which each carries its id
Places = dict[str, tuple[float, float]]


def tree_places(prompts: Sequence[Prompt]) -> tuple[Places, list[tuple[int, int, int]]]:
    """Where each prompt is drawn, and the first and last column of each cycle.

    A column is a generation within a cycle, so parents stand to the left; a prompt without children has a row of its
    own, one with children, as their first parent, stands in their middle. A parent that is not in `prompts` is none.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    parents = _without_rings({p.id: [name for name in p.parents if name in by_id] for p in prompts})
    depth: dict[str, int] = {}
    for name, above in parents.items():
        depth[name] = max([depth[one] + 1 for one in above if by_id[one].cycle == by_id[name].cycle], default=0)
    columns, first = [], 0
    for cycle in sorted({prompt.cycle for prompt in prompts}):
        last = first + max(depth[prompt.id] for prompt in prompts if prompt.cycle == cycle)
        columns.append((cycle, first, last))
        first = last + 1
    starts = {cycle: start for cycle, start, _ in columns}
    rows = _rows(prompts, {name: above[0] if above else None for name, above in parents.items()})
    return {p.id: (float(starts[p.cycle] + depth[p.id]), rows[p.id]) for p in prompts}, columns


def drawn_tree(members: Sequence[Prompt], prompts: Sequence[Prompt]) -> Any:
    """The tree of `prompts`, the members of the population ringed."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patheffects import withStroke

    places, columns = tree_places(prompts)
    rows = len({row for _, row in places.values()})
    figure, (axes,) = panels(7.2, min(9.0, max(1.8, 1.2 + 0.34 * rows)))
    scale = Normalize(0.0, max([1.0, *(prompt.mean for prompt in prompts if prompt.mean is not None)]))
    # Twenty steps of colour are twenty outlines; more would be a picture inside the SVG.
    colours = colormaps["viridis"].resampled(20)
    for cycle, first, last in columns:
        if first:
            axes.axvline(first - 0.5, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(f"cycle {cycle}", ((first + last) / 2, 1.0), (0, 4), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="center", fontsize=8.5)  # fmt: skip
    for prompt in prompts:
        for number, above in enumerate(name for name in prompt.parents if name in places and name != prompt.id):
            _edge(axes, places[above], places[prompt.id], dashed=number > 0)
    ranks = {member.id: member.rank for member in reversed(members)}
    for prompt in prompts:
        face = "#cfcfcf" if prompt.mean is None else colours(scale(prompt.mean))
        _node(axes, places[prompt.id], face, prompt.id in ranks)
        rank = f" (rank {ranks[prompt.id]})" if ranks.get(prompt.id) is not None else ""
        if len(prompts) <= NAMED or rank:
            axes.annotate(f"{prompt.id[:6]}{rank}", places[prompt.id], (0, -8), textcoords="offset points",
                          ha="center", va="top", fontsize=6.5, color="#333333",
                          path_effects=[withStroke(linewidth=2.0, foreground="white")])  # fmt: skip
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=axes, pad=0.01, fraction=0.03, aspect=25)
    bar.set_label("mean reward", fontsize=8.5)
    axes.set(xticks=[], yticks=[], xlabel="generation within each cycle →")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.margins(x=0.08)
    heights = [row for _, row in places.values()]
    axes.set_ylim(min(heights) - 0.8, max(heights) + 0.5)
    return figure


def _rows(prompts: Sequence[Prompt], parent: dict[str, str | None]) -> dict[str, float]:
    children: dict[str | None, list[str]] = {}
    for prompt in prompts:
        children.setdefault(parent[prompt.id], []).append(prompt.id)
    rows: dict[str, float] = {}
    free = 0
    # Depth first without recursion: hand-edited files may hold chains of any length.
    todo = [(name, False) for name in reversed(children.get(None, []))]
    while todo:
        name, done = todo.pop()
        below = children.get(name, [])
        if not below:
            rows[name], free = -float(free), free + 1
        elif done:
            rows[name] = (rows[below[0]] + rows[below[-1]]) / 2
        else:
            todo += [(name, True), *((child, False) for child in reversed(below))]
    return rows


def _without_rings(parents: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same with every parent before its children, less the edges that close a ring.

    Ids are hashes of the text: a prompt that is edited back to its grandparent is an ancestor of itself.
    """
    done: dict[str, list[str]] = {}
    for start in parents:
        path = [start] if start not in done else []
        while path:
            name = path[-1]
            above = next((one for one in parents[name] if one not in done and one not in path), None)
            if above is None:
                done[name] = [one for one in parents[name] if one in done]
                path.pop()
            else:
                path.append(above)
    return done


def _edge(axes: Any, start: tuple[float, float], end: tuple[float, float], dashed: bool) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    (x0, y0), (x1, y1) = start, end
    middle = (x0 + x1) / 2
    path = Path([(x0, y0), (middle, y0), (middle, y1), (x1, y1)], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    style = (0, (3, 2)) if dashed else "-"
    axes.add_patch(PathPatch(path, facecolor="none", edgecolor="#8a8a8a", linewidth=1.0, linestyle=style, zorder=1))


def _node(axes: Any, place: tuple[float, float], face: Any, ringed: bool) -> None:
    if ringed:
        axes.plot(*place, "o", markersize=12.5, markerfacecolor="none", markeredgecolor="#D55E00", markeredgewidth=1.8)
    axes.plot(*place, "o", markersize=8, markerfacecolor=face, markeredgecolor="#333333", markeredgewidth=0.7, zorder=3)
