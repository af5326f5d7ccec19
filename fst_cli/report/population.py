"""How populations of prompts change from cycle to cycle, and where the last one comes from."""

from collections.abc import Iterator, Sequence
from typing import Any

from fst_cli.data import jsonl
from fst_cli.data.records import Prompt
from fst_cli.fast.lineage import load_ancestors
from fst_cli.measure.history import Arm, History
from fst_cli.report.lineage import drawn_tree
from fst_cli.report.style import Drawing, Style, legend_below, panels, plain, slug, whole_numbers

SECTION = "The population of prompts"


def population_figures(arms: Sequence[Arm], looks: dict[str, Style]) -> Iterator[Drawing]:
    """Sizes and scores by cycle, and a tree for the first run of every arm that evolves."""
    evolved = [arm for arm in arms if _by_cycle(arm, "fast/pool")]
    for task in dict.fromkeys(arm.runs[0].config["task"] for arm in evolved):
        shown = [arm for arm in evolved if arm.runs[0].config["task"] == task]
        yield Drawing(
            f"population-{slug(task)}",
            SECTION,
            f"{task}: pool, population and scores by cycle",
            "Candidates in the pool after each evolution, distinct prompts in the population it leaves, and the best "
            "mean reward on the cycle's anchor problems before (open) and after (filled) the evolution; every cycle "
            f"has anchor problems of its own. Means over seeds, n = {_seeds(shown)}.",
            _by_cycle_drawn(shown, looks),
        )
    for arm in evolved:
        if tree := _tree(arm.runs[0]):
            members, known, cycle = tree
            yield Drawing(
                f"lineage-{slug(arm.name)}",
                SECTION,
                f"{arm.name}: where the population of cycle {cycle} comes from",
                f"Run with seed {arm.runs[0].seed}. A node is a prompt, a line leads from the prompt it was edited "
                "from, a dashed line from a second parent. Colour: mean reward on the anchor problems it was last "
                "scored on (grey: never scored); ringed: in the population, with its rank (0 is the lead prompt).",
                drawn_tree(members, known),
            )


def last_population(run: History) -> tuple[list[Prompt], list[Prompt], int] | None:
    """The newest population of a run, its ancestors, and its cycle; None where none was evolved yet."""
    found = sorted(run.folder.glob("cycle-*/prompts.jsonl"))
    if not found:
        return None
    return jsonl.read_all(found[-1], Prompt), load_ancestors(found[-1]), int(found[-1].parent.name.split("-")[-1])


def _tree(run: History) -> tuple[list[Prompt], list[Prompt], int] | None:
    """Members, everyone known by id (members as they are now), and the cycle."""
    if not (found := last_population(run)):
        return None
    members, before, cycle = found
    known: dict[str, Prompt] = {}
    # The first of equal prompts: a later one only fills a place.
    for prompt in [*members, *before]:
        known.setdefault(prompt.id, prompt)
    return members, list(known.values()), cycle


def _by_cycle(arm: Arm, key: str) -> dict[int, float]:
    """Mean over the seeds of a figure of each evolution, for the cycles that every seed has."""
    each = [{row["cycle"]: float(row[key]) for row in run.rows if row.get(key) is not None} for run in arm.runs]
    cycles = sorted(set.intersection(*(set(values) for values in each)))
    return {cycle: sum(values[cycle] for values in each) / len(each) for cycle in cycles}


def _distinct(arm: Arm, cycles: Sequence[int]) -> dict[int, float]:
    """Prompts of each population that are not equal, mean over seeds; of cycles whose files all runs still have."""
    found = {}
    for cycle in cycles:
        paths = [run.folder / f"cycle-{cycle:03d}" / "prompts.jsonl" for run in arm.runs]
        if all(path.exists() for path in paths):
            found[cycle] = sum(len({p.id for p in jsonl.read(path, Prompt)}) for path in paths) / len(paths)
    return found


def _by_cycle_drawn(arms: Sequence[Arm], looks: dict[str, Style]) -> Any:
    figure, axes = panels(7.2, 3.4, columns=3)
    handles = []
    for place, arm in enumerate(arms):
        pool, look = _by_cycle(arm, "fast/pool"), looks[arm.name]
        handles.append(axes[0].plot(list(pool), list(pool.values()), **look.line)[0])
        distinct = _distinct(arm, list(pool))
        axes[1].plot(list(distinct), list(distinct.values()), **look.line)
        before, after = _by_cycle(arm, "fast/anchor_mean_before"), _by_cycle(arm, "fast/anchor_mean_after")
        for cycle in [cycle for cycle in before if cycle in after]:
            x = cycle + (place - (len(arms) - 1) / 2) * min(0.12, 0.7 / len(arms))
            pair = {"color": look.colour, "marker": look.marker, "clip_on": False}
            axes[2].plot([x, x], [before[cycle], after[cycle]], color=look.colour, linewidth=1.2)
            axes[2].plot([x], [before[cycle]], **pair, markerfacecolor="white")
            axes[2].plot([x], [after[cycle]], **pair)
    axes[0].set(title="pool", ylabel="candidate prompts")
    axes[1].set(title="population", ylabel="distinct prompts")
    axes[2].set(title="anchor problems", ylabel="best mean reward")
    for one in axes:
        one.set_xlabel("cycle")
        whole_numbers(one.xaxis)
        one.set_xlim(-0.5, max(max(_by_cycle(arm, "fast/pool")) for arm in arms) + 0.5)
    for one in axes[:2]:
        whole_numbers(one.yaxis)
        one.set_ylim(0, one.get_ylim()[1] * 1.05)
    legend_below(figure, handles, [plain(arm.name) for arm in arms])
    return figure


def _seeds(arms: Sequence[Arm]) -> str:
    counts = sorted({len(arm.runs) for arm in arms})
    return f"{' or '.join(map(str, counts))} seed{'' if counts == [1] else 's'} an arm"
