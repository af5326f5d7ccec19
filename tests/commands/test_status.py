"""`fst status` on runs that are complete, running, stopped and failed; where a setting comes from."""

import json
import shutil
import subprocess
import sys

import pytest

from fst_cli.cycle.lock import locked

TINY = [
    "--task=math", "--no-fast", "--cycles=1", "--steps-per-cycle=2", "--set=problems_per_step=2",
    "--set=slow.group_size=2", "--set=max_tokens=8", "--set=eval.every=0", "--set=eval.problems=2",
    "--set=eval.samples=1", "--set=eval.kl_problems=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("finished")
    command = [sys.executable, "-m", "fst_cli", "cycle", "--out=run", *TINY]
    subprocess.run(command, cwd=place, check=True, timeout=300)
    return place / "run"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def status(fst_here):
    done = fst_here("status", "run", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_complete_run_says_so_with_its_cost(fst_here, run):
    found = status(fst_here)
    assert (found["state"], found["complete"], found["stages"], found["next"]) == ("complete", 8, 8, None)
    assert found["cost"]["rollout"]["rollouts"] == 8 and found["seconds_left"] == 0
    text = fst_here("status", "run").stdout
    assert text.startswith("run: complete, 8 of 8 stages, ") and "  train-step: 2 runs, " in text


def test_a_stopped_run_says_what_comes_next_and_how_to_go_on(fst_here, run):
    shutil.rmtree(run / "cycle-000/step-01")
    for name in ("grid.stage.json", "kl.stage.json"):
        (run / name).unlink()
    found = status(fst_here)
    assert (found["state"], found["complete"], found["next"]) == ("stopped", 4, "cycle 0 step 1: rollout")
    assert found["seconds_left"] is None, "no evaluation has run yet"
    text = fst_here("status", "run").stdout
    assert "next: cycle 0 step 1: rollout" in text and "fst cycle --out run --resume" in text


def test_a_running_one_says_its_process(fst_here, run):
    (run / "kl.stage.json").unlink()
    with locked(run):
        found = status(fst_here)
        assert found["state"] == "running" and found["process"] > 0 and found["next"] == "kl"
        assert "running as process" in fst_here("status", "run").stdout
    assert status(fst_here)["state"] == "stopped"


def test_a_failed_one_says_where_and_why_until_it_goes_on(fst_here, run):
    (run / "kl.stage.json").unlink()
    seed = json.loads((run / "seed.jsonl").read_text())
    (run / "seed.jsonl").write_text(json.dumps(seed | {"instruction": "Another."}) + "\n")  # its id is of the old one
    (run / "grid.stage.json").unlink()
    done = fst_here("cycle", "--out=run", "--resume")
    assert done.returncode == 3
    found = status(fst_here)
    assert found["state"] == "failed" and found["failure"]["stage"] == "cycle 0 step 0: rollout"
    assert "is not the hash of this instruction" in found["failure"]["error"]
    assert "failed in [cycle 0 step 0: rollout]: " in fst_here("status", "run").stdout
    (run / "seed.jsonl").unlink()
    assert fst_here("cycle", "--out=run", "--resume").returncode == 0
    assert status(fst_here)["state"] == "complete" and not (run / "failure.json").exists()


def test_a_folder_without_a_run_is_bad_data(fst_here, tmp_path):
    done = fst_here("status", "nowhere")
    assert done.returncode == 3 and "nowhere/config.toml" in done.stderr and done.stdout == ""


def test_a_dry_run_says_where_each_setting_comes_from(fst_here, tmp_path):
    (tmp_path / "mine.toml").write_text('task = "math"\ncycles = 3\n[slow]\nlearning_rate = 0.5\n')
    out = fst_here(
        "cycle", "--out=x", "--recipe=mine.toml", "--seed=7", "--set=slow.warmup_steps=3", "--dry-run"
    ).stdout
    for line in (
        'task = "math"  # recipe mine.toml', "cycles = 3  # recipe mine.toml", "slow.learning_rate = 0.5  # recipe mine.toml",
        "seed = 7  # flag", "slow.warmup_steps = 3  # flag", "max_tokens = 4096  # default",
    ):  # fmt: skip
        assert line in out.splitlines(), line
    assert not (tmp_path / "x").exists()


def test_a_runs_own_configuration_is_a_recipe_and_resuming_replays_it(fst_here, run):
    out = fst_here("cycle", "--out=again", "--recipe=run/config.toml", "--dry-run").stdout
    assert "max_tokens = 8  # recipe run/config.toml" in out
    out = fst_here("cycle", "--out=run", "--resume", "--cycles=2", "--dry-run").stdout
    assert "max_tokens = 8  # saved" in out and "cycles = 2  # flag" in out


def test_an_unknown_key_of_a_recipe_file_names_the_nearest(fst_here, tmp_path):
    (tmp_path / "mine.toml").write_text('task = "math"\n[slow]\nlearning_rat = 0.5\n')
    done = fst_here("cycle", "--out=x", "--recipe=mine.toml")
    assert done.returncode == 2 and "unknown key `slow.learning_rat`" in done.stderr
    assert "`slow.learning_rate`" in done.stderr and not (tmp_path / "x").exists()
