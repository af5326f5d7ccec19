import pytest

from fst_cli.data.errors import UsageError
from fst_cli.measure.compare import compare, kl_at, series
from fst_cli.measure.history import load_arms, load_history


def points(values, kls, rollouts=96, before=()):
    """Evaluations every second update; `before` is what an evolution reached with a number of rollouts."""
    spent = sum(calls for _, calls in before)
    found = [(0, False, 0, {"math": values[0]}, {})]
    found += [(0, True, calls, {"math": value}, {}) for value, calls in before]
    pairs = enumerate(zip(values[1:], kls, strict=True), start=1)
    return found + [(2 * n, False, spent + 2 * n * rollouts, {"math": v}, {"math": k}) for n, (v, k) in pairs]


RL = points([0.1, 0.3, 0.5, 0.6, 0.58], [0.02, 0.05, 0.08, 0.1])
FST = points([0.1, 0.6, 0.7, 0.72, 0.74], [0.01, 0.02, 0.03, 0.04], before=[(0.4, 200)])


@pytest.fixture
def arms(plant, tmp_path):
    def lifted(found, more):
        return [(u, e, r, {"math": s["math"] + more}, k) for u, e, r, s, k in found]

    for seed, more in ((0, 0.0), (1, 0.04), (2, -0.04)):
        plant(tmp_path / "rl" / f"seed-{seed}", lifted(RL, more), seed=seed)
        plant(tmp_path / "fst" / f"seed-{seed}", lifted(FST, more), seed=seed)
    return load_arms([tmp_path / "fst", tmp_path / "rl"])


def test_steps_and_rollouts_to_the_others_best(arms):
    found = compare(*arms)["tasks"]["math"]
    reach = found["to_their_best"]
    assert (reach["seeds"], reach["reached_by"]) == (3, 3)
    assert [reach["update"][who]["mean"] for who in ("ours", "theirs")] == [2, 6]
    assert reach["update"]["share"]["mean"] == pytest.approx(1 / 3)
    assert reach["rollouts"]["share"]["mean"] == pytest.approx((200 + 2 * 96) / (6 * 96)), "the evolution's count too"
    assert reach["seconds"]["ours"]["mean"] == pytest.approx(39.2) and reach["tokens"]["theirs"]["mean"] == 50 * 576
    assert found["to_our_best"] == {"seeds": 3, "reached_by": 0}, "RL never gets there"


def test_the_final_difference_is_paired_by_seed(arms):
    found = compare(*arms)["tasks"]["math"]["final"]
    assert found["difference"]["values"] == pytest.approx([0.16] * 3)
    assert found["difference"]["high"] - found["difference"]["low"] == pytest.approx(0, abs=1e-9)
    assert found["rl"]["success"]["high"] - found["rl"]["success"]["low"] > 0.1, "the seeds themselves differ"
    assert found["rl"]["best"]["mean"] == pytest.approx(0.6) and found["fst"]["kl"]["mean"] == pytest.approx(0.04)


def test_kl_at_matched_reward_is_interpolated(arms):
    run = arms[1].runs[0]
    assert kl_at(run.points, "math", 0.4) == pytest.approx(0.02 + 0.5 * 0.03)
    assert kl_at(run.points, "math", 0.1) == 0 and kl_at(run.points, "math", 0.7) is None
    matched = compare(*arms)["tasks"]["math"]["kl_at_matched_reward"]
    assert [one["level"] for one in matched] == [0.5, 0.75, 0.9, 1.0] and all(one["seeds"] == 3 for one in matched)
    assert matched[-1]["reward"]["mean"] == pytest.approx(0.6)
    assert matched[-1]["kl"]["theirs"]["mean"] == pytest.approx(0.08)
    # FST crosses 0.6 at its first evaluation after RL steps; just before, it stood at 0.4 with no KL.
    assert matched[-1]["kl"]["share"]["mean"] == pytest.approx(0.01 / 0.08)


def test_only_common_seeds_are_paired_and_one_seed_has_no_interval(arms, plant, tmp_path):
    plant(tmp_path / "one" / "seed-1", FST, seed=1)
    found = compare(load_arms([tmp_path / "one"])[0], arms[1])
    assert found["seeds"] == [1]
    assert found["tasks"]["math"]["final"]["difference"]["low"] is None
    plant(tmp_path / "other" / "seed-9", FST, seed=9)
    with pytest.raises(UsageError, match="no seed in common"):
        compare(load_arms([tmp_path / "other"])[0], arms[1])
    plant(tmp_path / "code" / "seed-1", [(0, False, 0, {"codeio": 0.1}, {})], task="codeio", seed=1)
    with pytest.raises(UsageError, match="no task in common"):
        compare(load_arms([tmp_path / "code"])[0], arms[1])


def test_a_fit_starts_after_the_first_evolution(arms):
    assert series(arms[0], "math") == ([0, 2, 4, 6, 8], pytest.approx([0.4, 0.6, 0.7, 0.72, 0.74]))
    assert series(arms[1], "math", "rollouts")[0] == [0, 192, 384, 576, 768]


def test_runs_that_were_measured_only_at_their_ends_are_compared(plant, tmp_path):
    for name, success in (("a", 0.5), ("b", 0.3)):
        plant(tmp_path / name, [(2, False, 96, {"math": success}, {"math": 0.1})])
    found = compare(*load_arms([tmp_path / "a", tmp_path / "b"]))["tasks"]["math"]
    assert found["final"]["difference"]["mean"] == pytest.approx(0.2)
    assert "refused" in found["fits"]["a"] and "refused" in found["fits"]["b"]


def test_runs_of_several_tasks_are_compared_stage_by_stage(plant, tmp_path):
    def row(update, math, code, evolved=False):
        return update, evolved, update * 10, {"math": math, "codeio": code}, {}

    options = {"task": "math,codeio", "switch_every": 2}
    plant(tmp_path / "rl", [row(0, 0.1, 0.0), row(2, 0.5, 0.0), row(4, 0.4, 0.1)], **options)
    evolved = [row(0, 0.1, 0.0), row(2, 0.7, 0.0), row(2, 0.6, 0.3, True), row(4, 0.65, 0.4)]
    plant(tmp_path / "fst", evolved, **options)
    first, second = compare(*load_arms([tmp_path / "fst", tmp_path / "rl"]))["stages"]
    assert (first["task"], first["best"]) == ("math", pytest.approx(0.7))
    assert first["arms"]["rl"]["acquired"]["mean"] == pytest.approx(0.4)
    assert first["arms"]["rl"]["normalised_after"] == pytest.approx(0.4 / 0.6)
    assert first["arms"]["rl"]["normalised_end"] == pytest.approx(0.3 / 0.6), "some of it is forgotten"
    assert second["arms"]["fst"]["before"]["mean"] == 0.0, "the evolution after the switch belongs to the new stage"
    assert second["arms"]["fst"]["acquired"]["mean"] == pytest.approx(0.4)
    assert second["arms"]["rl"]["normalised_after"] == pytest.approx(0.25)


def test_a_run_without_an_evaluation_is_refused(plant, tmp_path):
    empty = plant(tmp_path / "a", [(0, False, 0, {}, {})])
    other = plant(tmp_path / "b", RL)
    assert load_history(empty).points == []
    with pytest.raises(UsageError, match="has no evaluation of math yet"):
        compare(*load_arms([empty, other]))
