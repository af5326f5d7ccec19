"""What is drawn is what was measured."""

from types import SimpleNamespace

import numpy as np
import pytest

from fst_cli.data.records import Prompt
from fst_cli.measure.history import load_arms
from fst_cli.report import style
from fst_cli.report.continual import continual_figures
from fst_cli.report.grid import cells_of, grid_figures
from fst_cli.report.lineage import tree_places
from fst_cli.report.reward import kl_figures, plasticity_figures, reward_figures


def lines(drawing, panel=0):
    """Points of the lines with markers or dashes, by colour, the first of each."""
    found = {}
    for line in drawing.figure.axes[panel].lines:
        found.setdefault(line.get_color(), np.column_stack(line.get_data()).tolist())
    return found


def test_a_line_is_the_mean_over_seeds_and_jumps_at_an_evolution(tmp_path, planted):
    for seed in (0, 2):
        planted(tmp_path / "fst" / f"{seed}", seed=seed, steps=1).write(bare=True)
    arms = load_arms([tmp_path / "fst"])
    looks = style.styles(arms)
    updates, rollouts = reward_figures(arms, looks)
    points = lines(updates)[looks["fst"].colour]
    assert np.allclose(points, [[0, 11], [0, 41], [1, 23], [1, 51], [2, 35]])
    assert [x for x, _ in lines(rollouts)[looks["fst"].colour]] == [0, 40, 56, 96, 112]
    assert "n = 2 seeds an arm, 50 test problems × 2 samples" in updates.caption
    (drift,) = kl_figures(arms, looks)
    assert np.allclose([x for x, _ in lines(drift)[looks["fst"].colour]], [0, 0, 0.01, 0.02])


def test_one_seed_has_the_interval_of_its_evaluations(tmp_path, planted):
    planted(tmp_path / "rl", fast=False, cycles=1).write(bare=True)
    arms = load_arms([tmp_path / "rl"])
    updates, _ = reward_figures(arms, style.styles(arms))
    (band,) = updates.figure.axes[0].collections
    assert band.get_paths()[0].vertices[:, 1].min() == pytest.approx(5) and "one seed" in updates.caption


def test_plasticity_says_where_the_weights_come_from_and_sets_plain_RL_beside(tmp_path, planted):
    planted(tmp_path / "rl", fast=False).write(bare=True)
    planted(tmp_path / "fst").write(bare=True)
    planted(tmp_path / "moved", fast=False, init_from="/runs/codeio/fst/seed-3/cycle-001/step-11/weights").write(
        bare=True
    )
    arms = load_arms([tmp_path / name for name in ("moved", "rl", "fst")])
    (drawing,) = plasticity_figures(arms, style.styles(arms))
    assert "moved starts from codeio/fst/seed-3" in drawing.caption and "rl: from the base model" in drawing.caption
    assert len(lines(drawing)) == 2
    shown = [figure.caption for figure in reward_figures(arms, style.styles(arms))]
    assert len(shown) == 2 and not any("moved" in caption for caption in shown)


def test_stages_are_normalised_by_the_best_of_any_arm_in_the_tasks_own_stage(tmp_path, planted):
    def low(name, update):
        return 0.2 + (0.1 if update else 0)

    def high(name, update):
        # Codeio is best while math is learned: that does not count.
        return {"math": [0.2, 0.4, 0.6, 0.4, 0.2], "codeio": [0.2, 0.9, 0.9, 0.5, 0.6]}[name][update]

    shape = {"task": "math,codeio", "fast": False, "cycles": 2, "steps": 2, "switch_every": 2}
    planted(tmp_path / "low", curve=low, **shape).write(bare=True)
    planted(tmp_path / "high", curve=high, **shape).write(bare=True)
    arms = load_arms([tmp_path / "low", tmp_path / "high"])
    looks = style.styles(arms)
    plain, normalised = continual_figures(arms, looks)
    assert np.allclose(lines(plain)[looks["high"].colour], [[0, 20], [1, 40], [2, 60], [3, 40], [4, 20]])
    assert np.allclose([y for _, y in lines(normalised)[looks["high"].colour]], [0, 0.5, 1, 0.5, 0])
    assert np.allclose([y for _, y in lines(normalised, 1)[looks["high"].colour]], [0, 1.75, 1.75, 0.75, 1])
    assert np.allclose([y for _, y in lines(normalised, 1)[looks["low"].colour]], [0, 0.25, 0.25, 0.25, 0.25])


def test_the_grid_has_the_cells_of_finished_runs_only(tmp_path, planted):
    planted(tmp_path / "fst").write()
    planted(tmp_path / "rl", fast=False).write()
    grown = planted(tmp_path / "grown").write()
    (grown / "config.toml").write_text((grown / "config.toml").read_text().replace("cycles = 2", "cycles = 3"))
    fst, rl, older = arms = load_arms([tmp_path / name for name in ("fst", "rl", "grown")])
    assert cells_of(fst, "math")["trained+evolved"] == pytest.approx((80, 75, 85))
    assert list(cells_of(rl, "math")) == ["base+seed", "trained+seed"] and cells_of(older, "math") == {}
    (drawing,) = grid_figures(arms, style.styles(arms))
    assert sorted(bar.get_height() for bar in drawing.figure.axes[0].patches) == pytest.approx([10, 10, 40, 40, 60, 80])


def test_arms_of_a_task_never_look_alike():
    def arm(name, fast, **config):
        run = SimpleNamespace(config={"task": "math", **config}, method="fst" if fast else "rl")
        return SimpleNamespace(name=name, runs=[run], tasks=["math"])

    arms = [arm("moved", False, init_from="x"), *(arm(f"{number}", number % 2) for number in range(20))]
    looks = style.styles(arms)
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(arms)
    assert looks["1"] == style.style_at(0) and looks["0"] == style.style_at(1) and looks["moved"] != style.style_at(1)


def test_names_are_drawn_as_text_never_as_formulas():
    from matplotlib.figure import Figure

    hostile = "_a$\\frac{1}{$\n\x1b\ud800"
    name = style.plain(hostile)
    with style.look():
        figure = Figure()
        (line,) = figure.subplots().plot([0, 1])
        style.legend_below(figure, [line], [name])
        assert style.svg(figure) and style.png(figure)
    assert figure.legends[0].get_texts()[0].get_text().strip() == "_a\\$\\frac{1}{\\$???"
    assert style.plain("a/" * 50 + "fst").endswith("a/fst")


def test_the_tree_has_parents_to_the_left_and_survives_rings():
    def prompt(name, parents=(), cycle=0):
        return Prompt(id=name, parents=list(parents), cycle=cycle)

    family = [
        prompt("child", ["a", "b"]),
        prompt("seed"),
        prompt("a", ["seed"]),
        prompt("b", ["a"]),
        prompt("late", ["seed"], 2),
    ]
    places, columns = tree_places(family)
    assert places["seed"][0] < places["a"][0] < places["b"][0] < places["child"][0] < places["late"][0]
    assert columns == [(0, 0, 3), (2, 4, 4)] and len(set(places.values())) == 5
    places, _ = tree_places([prompt("a", ["b"]), prompt("b", ["a"]), prompt("c", ["c", "gone"])])
    assert len(set(places.values())) == 3
    chain = [prompt(str(number), [str(number - 1)]) for number in range(3000)]
    assert len(tree_places(chain)[0]) == 3000
