"""A whole run of the real command, small: two cycles of two steps."""

import contextlib
import io
import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from fst_cli import app
from fst_cli.cycle.config import load_config
from fst_cli.cycle.plan import planned
from fst_cli.data.files import read_json, sha256
from fst_cli.data.stage import stage_path
from fst_cli.report.write import write_report
from tests.cycle.tiny import TINY

SMALL = [
    "--steps-per-cycle=2", "--cycles=2", "--set=problems_per_step=4", "--set=max_tokens=32",
    "--set=fast.anchor=4", "--set=fast.budget=24", "--set=fast.minibatch=2", "--set=fast.k=2",
    "--set=slow.group_size=4", "--set=eval.problems=6", "--set=eval.samples=2", "--set=eval.kl_problems=3",
    "--set=task_options.difficulty=1", "--set=eval.every=1",
]  # fmt: skip
# stage.json holds seconds; manifest and metrics hold versions and speeds; train.json holds seconds and memory.
TIMED = ("stage.json", "manifest.json", "metrics.jsonl", "train.json", "gepa.log", "run_log.txt")


def run_here(folder, *options, cwd):
    """`fst cycle` in this process, which saves the seconds that importing torch and transformers takes."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, Path.cwd()
    sys.argv = ["fst", "cycle", "--out", str(folder), *options]
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app.main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv = before[0]
        os.chdir(before[1])
    return code, out.getvalue(), err.getvalue()


def hashes(folder):
    files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(TIMED))
    return {str(path.relative_to(folder)): sha256(path) for path in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    code, out, err = run_here("first", "--task=math", *SMALL, cwd=place)
    assert code == 0, err
    return place / "first", out, err


def test_a_run_can_be_reported(finished, tmp_path):
    write_report([finished[0]], tmp_path / "report")
    figures = {path.stem for path in (tmp_path / "report").glob("*.svg")}
    assert figures >= {
        "reward-updates-math",
        "reward-kl-math",
        "grid-math",
        "population-math",
        "lineage-first",
        "health-math",
    }
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count('<details class="rollout') >= 24 and "<td>so far" not in page


def test_a_run_leaves_every_file_of_the_design(finished):
    folder, out, err = finished
    for name in (
        "config.toml", "manifest.json", "metrics.jsonl", "seed.jsonl", "data/train.jsonl", "data/test.jsonl",
        "cycle-000/problems.jsonl", "cycle-000/prompts.jsonl", "cycle-000/evolve/proposals.jsonl",
        "cycle-000/evolve/evaluations.jsonl", "cycle-000/evolve/evaluations.safetensors",
        "cycle-001/step-01/rollouts.jsonl", "cycle-001/step-01/rollouts.safetensors", "cycle-001/step-01/train.json",
        "cycle-001/step-01/weights/adapter_model.safetensors", "cycle-001/step-01/weights/adapter_config.json",
        "cycle-001/step-01/optimizer.safetensors", "eval.jsonl", "cycle-000/eval.jsonl", "cycle-001/step-00/eval.jsonl",
        "cycle-001/step-00/kl.jsonl", "grid.jsonl", "kl.jsonl",
    ):  # fmt: skip
        assert (folder / name).exists(), name
    assert not list(folder.rglob(".*")), "temporary files are gone"
    assert out == "" and "trained+evolved" in err and "KL(trained" in err


def test_metrics_have_a_line_for_the_start_every_evolution_and_every_step(finished):
    folder, _, _ = finished
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    places = [(row["update"], row.get("cycle"), row.get("step")) for row in rows]
    assert places == [(0, None, None), (0, 0, None), (1, 0, 0), (2, 0, 1), (2, 1, None), (3, 1, 0), (4, 1, 1)]
    assert all(("slow/loss" in row) == ("step" in row) == ("rollout/tokens_per_second" in row) for row in rows)
    assert ["fast/metric_calls" in row for row in rows] == ["cycle" in row and "step" not in row for row in rows]
    assert all({"eval/success_mean@2", "eval/success_mean@2/low"} <= set(row) for row in rows)
    assert all(("kl/kl_per_token" in row) == ("step" in row) for row in rows), "the weights move in a step"
    grid, kl = read_json(folder / "grid.stage.json")["figures"], read_json(folder / "kl.stage.json")["figures"]
    assert rows[-1]["eval/success_mean@2"] == grid["trained+evolved"]["success_mean@2"]["mean"]
    assert rows[-1]["kl/kl_per_token"] == kl["kl_per_token"]["mean"]


def test_the_cost_of_both_loops_is_kept_apart_and_grows(finished):
    folder, _, _ = finished
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    evolutions = [read_json(folder / f"cycle-00{cycle}/prompts.stage.json")["figures"] for cycle in (0, 1)]
    calls = [figures["metric_calls"] + figures["rescoring_calls"] for figures in evolutions]
    assert [row.get("cost/fast/rollouts", 0) for row in rows] == [0, *[calls[0]] * 3, *[sum(calls)] * 3]
    assert [row.get("cost/slow/rollouts", 0) for row in rows] == [0, 0, 16, 32, 32, 48, 64]
    steps = [read_json(path) for path in sorted(folder.glob("cycle-*/step-*/train.json"))]
    last = rows[-1]
    assert last["cost/slow/trained_tokens"] == sum(step["trained_tokens"] for step in steps) > 0
    assert last["cost/rollouts"] == 64 + sum(calls) and last["cost/fast/reflections"] > 0
    manifest = read_json(folder / "manifest.json")
    assert manifest["cost"]["rollout"]["runs"] == 4 and manifest["cost"]["rollout"]["rollouts"] == 64
    assert manifest["cost"]["train-step"]["trained_tokens"] == last["cost/slow/trained_tokens"]
    assert manifest["versions"]["torch"] and manifest["data_sha256"]["train.jsonl"]


def test_a_finished_run_resumes_to_nothing_and_can_grow_by_a_cycle(finished, tmp_path):
    import shutil

    folder = tmp_path / "first"
    shutil.copytree(finished[0], folder)
    before = hashes(folder)
    code, _, err = run_here("first", "--resume", "--cycles=3", cwd=tmp_path)
    assert code == 0, err
    after = hashes(folder)
    grown = {"config.toml", "data/train.jsonl", "grid.jsonl", "kl.jsonl"}
    same = {name for name in before if name not in grown}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert (folder / "cycle-002/step-01/train.json").exists()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 10 and "eval/success_mean@2" in rows[6], "the end of the shorter run is measured as a step"


def test_a_hand_edited_input_makes_its_stage_run_again(finished, tmp_path):
    import shutil

    folder = tmp_path / "first"
    shutil.copytree(finished[0], folder)
    prompts = folder / "cycle-001/prompts.jsonl"
    lines = prompts.read_text().splitlines()
    prompts.write_text("\n".join(reversed(lines)) + "\n")
    code, _, err = run_here("first", "--resume", cwd=tmp_path)
    assert code == 0 and "[cycle 1 step 0: rollout]" in err and "[eval --grid]" in err
    assert "[cycle 0 step 0: rollout]" not in err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--task=math"], 2, "already holds a run"),
        (["--resume", "--task=math"], 2, "can't change"),
        (["--resume", "--cycles=1"], 2, "can only grow"),
    ],
)
def test_a_run_directory_is_never_reused_silently(finished, options, code, said):
    before = hashes(finished[0])
    got, _, err = run_here("first", *options, cwd=finished[0].parent)
    assert got == code and said in err and "Traceback" not in err
    assert hashes(finished[0]) == before


@pytest.mark.parametrize(
    ("option", "cells"), [("--no-fast", ["base+seed", "trained+seed"]), ("--no-slow", ["base+seed", "base+evolved"])]
)
def test_either_half_can_be_left_out(tmp_path, option, cells):
    code, _, err = run_here("half", "--task=math", option, *SMALL, "--cycles=1", cwd=tmp_path)
    assert code == 0, err
    assert list(read_json(tmp_path / "half/grid.stage.json")["figures"]) == cells
    assert (tmp_path / "half/cycle-000/prompts.jsonl").exists() == (option == "--no-slow")
    assert (tmp_path / "half/cycle-000/step-00").exists() == (option == "--no-fast")


@pytest.mark.parametrize("option", [[], ["--no-fast"], ["--no-slow"], ["--tasks=math,codeio", "--switch-every=4"]])
def test_the_plan_is_what_a_run_does(option, tmp_path):
    """Every stage, in its order."""
    code, _, err = run_here("run", *TINY, "--steps-per-cycle=2", "--cycles=2", *option, cwd=tmp_path)
    assert code == 0, err
    folder = tmp_path / "run"
    stages = list(planned(load_config(folder / "config.toml"), folder))
    assert re.findall(r"^\[(.*)\]$", err, re.MULTILINE) == [stage.label for stage in stages]
    marks = {stage_path(stage.output) for stage in stages}
    assert marks == set(folder.rglob("*stage.json")), "each leaves its mark there, and no other does"


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path):
    code, out, err = run_here("plan", "--task=stargraph", "--dry-run", cwd=tmp_path)
    assert code == 0 and err == "" and "cycle-000: 1 evolve-prompts (432 samples)" in out
    assert list(tmp_path.iterdir()) == []


def test_full_tuning_of_a_star_graph_run_works_too(tmp_path):
    options = [o for o in SMALL if "difficulty" not in o] + ["--set=slow.method=full", "--cycles=1"]
    code, _, err = run_here("full", "--task=stargraph", "--set=task_options.n=30", *options, cwd=tmp_path)
    assert code == 0, err
    assert (tmp_path / "full/cycle-000/step-01/weights/model.safetensors").exists()


def test_the_slow_half_can_distill_the_prompts(tmp_path):
    options = [*SMALL, "--cycles=1", "--set=slow.loss=distill"]
    code, _, err = run_here("run", "--task=math", *options, cwd=tmp_path)
    assert code == 0, err
    step = tmp_path / "run/cycle-000/step-01"
    assert read_json(step / "train.json")["kl_to_teacher"] > 0
    rollouts = [json.loads(line) for line in (step / "rollouts.jsonl").read_text().splitlines()]
    promptless = json.loads((tmp_path / "run/promptless.jsonl").read_text())
    assert {row["prompt_id"] for row in rollouts} == {promptless["id"]} and promptless["instruction"] == ""
    code, _, err = run_here("run", "--resume", cwd=tmp_path)
    assert code == 0 and "train-step" not in err


def test_several_processes_are_for_single_stages(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = run_here("run", "--task=math", cwd=tmp_path)
    assert code == 2 and "torchrun is for its train-step stage" in err


def test_a_run_starts_from_another_runs_newest_weights(finished, tmp_path):
    first = finished[0]
    small = [option for option in SMALL if "cycles=2" not in option]
    options = ["--init-from", str(first), "--no-fast", "--set=seed_prompt=Add.", "--cycles=1", *small]
    code, _, err = run_here("second", "--task=math", *options, cwd=tmp_path)
    assert code == 0, err
    weights = first / "cycle-001/step-01/weights"
    config = tomllib.loads((tmp_path / "second/config.toml").read_text())
    assert config["init_from"] == str(weights)
    start = read_json(tmp_path / "second/cycle-000/step-00/train.stage.json")["inputs"]
    assert start["weights"]["sha256"] == sha256(weights) and "optimizer" not in start, "a new run's optimiser is new"
    assert read_json(tmp_path / "second/cycle-000/step-00/train.json")["update"] == 1
    assert json.loads((tmp_path / "second/seed.jsonl").read_text())["instruction"] == "Add."
    trained = json.loads((tmp_path / "second/eval.jsonl").read_text().splitlines()[0])
    grid = {row["weights"]: row for row in map(json.loads, (tmp_path / "second/grid.jsonl").read_text().splitlines())}
    assert trained["policy"] != grid["base+seed"]["policy"], (
        "it starts from the trained weights; the base stays the base"
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task=math", "--init-from", "nowhere"], "neither a run nor weights"),
        (["--tasks", "math,stargraph"], "switch_every is missing"),
        (["--tasks", "math,math", "--switch-every=6"], "names a task twice"),
        (["--task", "math", "--switch-every=6"], "needs several tasks"),
        (["--tasks", "math,stargraph", "--switch-every=5"], "not a multiple of steps_per_cycle=6"),
        (["--tasks", "math,codeio", "--switch-every=6", "--set", "task_options.difficulty=1"], "options are by task"),
        (["--tasks", "math,codeoi", "--switch-every=6"], "unknown task `codeoi`"),
    ],
)
def test_a_run_that_makes_no_sense_leaves_nothing(options, said, tmp_path):
    code, _, err = run_here("run", *options, cwd=tmp_path)
    assert code == 2 and said in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_several_tasks_are_learned_in_turn_and_all_measured_throughout(tmp_path):
    small = [o for o in SMALL if "difficulty" not in o and "cycles=2" not in o]
    small += ["--set=fast.budget=12", "--set=eval.problems=2", "--set=eval.kl_problems=1"]
    options = ["--tasks=math,codeio", "--switch-every=2", "--set=task_options.math.difficulty=1", *small]
    code, _, err = run_here("run", *options, cwd=tmp_path)
    assert code == 0, err
    folder = tmp_path / "run"
    tasks = [json.loads((folder / f"cycle-00{c}/problems.jsonl").read_text().splitlines()[0])["task"] for c in (0, 1)]
    assert tasks == ["math", "codeio"], "a stage each, as long as --switch-every"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all("eval/math/success_mean@2" in row and "eval/codeio/success_mean@2" in row for row in rows)
    assert "kl/math/kl_per_token" in rows[-1] and [row.get("task") for row in rows[1:]] == ["math"] * 3 + ["codeio"] * 3
    seed = json.loads((folder / "seed.jsonl").read_text())["instruction"]
    assert seed.startswith("You are a helpful assistant."), "names no task"
    assert "math, mini" in err and "codeio, mini" in err
    before = hashes(folder)
    code, _, err = run_here("run", "--resume", cwd=tmp_path)
    assert code == 0 and hashes(folder) == before
