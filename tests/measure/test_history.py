import pytest

from fst_cli.data.errors import DataError, UsageError
from fst_cli.measure.curves import curve
from fst_cli.measure.history import load_arms, load_history

POINTS = [
    (0, False, 0, {"math": 0.1}, {}),
    (0, True, 30, {"math": 0.5}, {}),
    (1, False, 46, {}, {}),
    (2, False, 62, {"math": 0.6}, {"math": 0.02}),
]


def test_a_history_holds_the_evaluations_with_their_cost(plant, tmp_path):
    run = load_history(plant(tmp_path / "run", POINTS))
    assert [(p.update, p.evolved, p.rollouts, p.success["math"].mean) for p in run.points] == [
        (0, False, 0, 0.1), (0, True, 30, 0.5), (2, False, 62, 0.6)
    ]  # fmt: skip
    assert [point.kl["math"].mean for point in run.points] == [0.0, 0.0, 0.02], "the base model has not drifted"
    assert len(run.rows) == 4 and run.method == "fst" and run.points[2].success["math"].n == 50


def test_a_run_that_starts_from_trained_weights_has_an_unknown_kl_at_first(plant, tmp_path):
    run = load_history(plant(tmp_path / "run", POINTS, init_from="/elsewhere/weights"))
    assert [bool(point.kl) for point in run.points] == [False, False, True]


def test_an_arm_is_a_run_or_a_folder_of_runs_by_seed(plant, tmp_path):
    for seed in (2, 0, 1):
        plant(tmp_path / "fst" / f"seed-{seed}", POINTS, seed=seed)
    plant(tmp_path / "rl" / "seed-0", POINTS, fast={"enabled": False})
    arms = load_arms([tmp_path / "fst", tmp_path / "rl" / "seed-0"])
    assert [(arm.name, [run.seed for run in arm.runs]) for arm in arms] == [("fst", [0, 1, 2]), ("seed-0", [0])]
    assert arms[1].runs[0].method == "rl"
    arms = load_arms([tmp_path / "fst" / "seed-0", tmp_path / "rl" / "seed-0"])
    assert [arm.name for arm in arms] == ["fst/seed-0", "rl/seed-0"], "as much of the path as tells them apart"


def test_a_curve_is_the_mean_over_seeds_as_far_as_all_have_come(plant, tmp_path):
    for seed, more in ((0, 0.0), (1, 0.1), (2, 0.2)):
        points = [(u, e, r + 3 * seed, {"math": s["math"] + more} if s else {}, kl) for u, e, r, s, kl in POINTS]
        plant(tmp_path / "fst" / f"seed-{seed}", points[: 4 if seed else 3], seed=seed)
    steps = curve(load_arms([tmp_path / "fst"])[0], "math")
    assert [(step.update, step.rollouts) for step in steps] == [(0, 3), (0, 33)]
    assert steps[1].success.mean == pytest.approx(0.6) and steps[1].success.values == pytest.approx([0.5, 0.6, 0.7])


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda run: (run / "metrics.jsonl").unlink(), "metrics.jsonl: no such file"),
        (lambda run: (run / "config.toml").unlink(), "holds no run"),
        (lambda run: (run / "config.toml").write_text("task = "), "config.toml: not valid TOML"),
        (lambda run: (run / "metrics.jsonl").write_text('{"update": 0}\n{"upd'), "metrics.jsonl:2: not valid JSON"),
        (lambda run: (run / "metrics.jsonl").write_text('{"loss": 0}\n'), "metrics.jsonl:1: not a line of metrics"),
    ],
)
def test_a_broken_run_is_told_with_its_file_and_line(plant, tmp_path, break_it, said):
    break_it(plant(tmp_path / "run", POINTS))
    with pytest.raises(DataError, match=said):
        load_arms([tmp_path / "run"])


def test_arms_that_make_no_sense_are_refused(plant, tmp_path):
    run = plant(tmp_path / "fst" / "a", POINTS)
    with pytest.raises(UsageError, match="given twice"):
        load_arms([run, run])
    plant(tmp_path / "fst" / "b", POINTS, task="codeio")
    with pytest.raises(UsageError, match="different tasks"):
        load_arms([tmp_path / "fst"])
