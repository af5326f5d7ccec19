"""A run goes on over every kind of damage to the same bytes, and not over a change that nobody has accepted."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fst_cli.cycle import manifest
from fst_cli.data.files import read_json
from tests.cycle.tiny import TINY, data_files

LAST = "cycle-000/step-03"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model in a folder, so that a test may change it."""
    folder = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(Path(__file__).parents[2] / "fst_cli/policy/mini", folder)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model):
    place = tmp_path_factory.mktemp("finished")
    command = [sys.executable, "-m", "fst_cli", "cycle", "--out=run", *TINY, f"--model={model}"]
    subprocess.run(command, cwd=place, check=True, timeout=300)
    return place / "run"


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def lose(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("data/test.jsonl", lose, ""),
        ("seed.jsonl", cut, "seed.jsonl is damaged"),
        ("cycle-000/problems.jsonl", cut, "problems.jsonl is damaged"),
        ("cycle-000/prompts.jsonl", empty, "[cycle 0: evolve-prompts] is run again"),
        ("cycle-000/prompts.lineage.jsonl", lose, "[cycle 0: evolve-prompts] is run again"),
        ("cycle-000/evolve/evaluations.safetensors", flip, "[cycle 0: evolve-prompts] is run again"),
        (f"{LAST}/problems.jsonl", cut, "problems.jsonl is damaged"),
        (f"{LAST}/rollouts.jsonl", cut, "[cycle 0 step 3: rollout] is run again"),
        (f"{LAST}/rollouts.safetensors", flip, "[cycle 0 step 3: rollout] is run again"),
        (f"{LAST}/rollouts.stage.json", cut, "[cycle 0 step 3: rollout] is run again"),
        (f"{LAST}/train.json", flip, "[cycle 0 step 3: train-step] is run again"),
        (f"{LAST}/train.stage.json", empty, "[cycle 0 step 3: train-step] is run again"),
        (f"{LAST}/optimizer.safetensors", flip, "[cycle 0 step 3: train-step] is run again"),
        (f"{LAST}/weights/adapter_model.safetensors", flip, "[cycle 0 step 3: train-step] is run again"),
        (f"{LAST}/weights", lose, "[cycle 0 step 3: train-step] is run again"),
        ("cycle-000/step-01/eval.jsonl", cut, "[cycle 0 step 1: eval] is run again"),
        ("grid.jsonl", lose, ""),
        ("kl.stage.json", cut, "[kl] is run again"),
        ("metrics.jsonl", empty, ""),
        ("sinks.json", empty, ""),
    ],
)
def test_whatever_is_damaged_is_made_again_to_the_same_bytes(run, finished, fst_here, name, damage, said):
    if name == "sinks.json":
        (run / name).touch()
    damage(run / name)
    done = fst_here("cycle", "--out=run", "--resume")
    assert done.returncode == 0 and said in " ".join(done.stderr.split()), done.stderr
    (run / "sinks.json").unlink(missing_ok=True)
    assert data_files(run) == data_files(finished)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [0, 0, 1, 2, 3, 4]


def test_a_record_that_a_hand_has_changed_is_kept_and_what_came_of_it_is_made_again(run, fst_here):
    path = run / LAST / "rollouts.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["score"]["reward"] = 1.0 - rows[0]["score"]["reward"]
    edited = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(edited)
    done = fst_here("cycle", "--out=run", "--resume")
    said = " ".join(done.stderr.split())
    assert done.returncode == 0 and "it is kept, and what was made from it is made again" in said
    assert "[cycle 0 step 3: rollout]\n" not in done.stderr and "[cycle 0 step 3: train-step]" in done.stderr
    assert path.read_text() == edited


@pytest.mark.parametrize(("keep", "left"), [("last", [2, 3]), ("evaluated", [1, 2, 3])])
def test_weights_are_pruned_as_asked_and_the_run_can_still_go_on(fst_here, tmp_path, keep, left):
    done = fst_here("cycle", "--out=run", *TINY, "--no-fast", f"--set=keep_weights={keep}", "--set=keep_optimizer=last")
    assert done.returncode == 0, done.stderr
    steps = [tmp_path / f"run/cycle-000/step-0{number}" for number in range(4)]
    assert [number for number, step in enumerate(steps) if (step / "weights").exists()] == left
    assert [number for number, step in enumerate(steps) if (step / "optimizer.safetensors").exists()] == [2, 3]
    before = data_files(tmp_path / "run")
    done = fst_here("cycle", "--out=run", "--resume")
    assert done.returncode == 0 and "[cycle 0" not in done.stderr
    lose(steps[3] / "weights")
    assert fst_here("cycle", "--out=run", "--resume").returncode == 0
    assert data_files(tmp_path / "run") == before
    for lost in (steps[2] / "train.json", steps[1] / "rollouts.jsonl"):  # which need step 1's state, step 0's weights
        lose(lost)
        done = fst_here("cycle", "--out=run", "--resume")
        assert done.returncode == 1 and "was pruned" in done.stderr and "keep_weights=all" in done.stderr


def test_another_model_or_data_or_version_is_refused_by_name_unless_accepted(run, fst_here, monkeypatch):
    before = data_files(run)

    def refused(said):
        done = fst_here("cycle", "--out=run", "--resume")
        assert done.returncode == 2 and said in done.stderr and "--accept-changes" in done.stderr, done.stderr
        assert data_files(run) == before

    monkeypatch.setattr(manifest, "__version__", "9.9")
    refused(" -> 9.9")
    monkeypatch.undo()
    record = read_json(run / "manifest.json")
    for change, said in (
        ({"versions": record["versions"] | {"torch": "1.0"}}, "versions.torch: 1.0 -> "),
        ({"data_sha256": {"test.jsonl": "0"}}, "data_sha256.test.jsonl: 0 -> "),
        ({"git_commit": "0"}, "git_commit: 0 -> "),
    ):
        (run / "manifest.json").write_text(json.dumps(record | change))
        refused(said)
    (run / "manifest.json").write_text("{")
    refused("manifest.json: gone or damaged")
    (run / "manifest.json").write_text(json.dumps(record | {"versions": {"torch": "1.0"}}))
    done = fst_here("cycle", "--out=run", "--resume", "--accept-changes")
    assert done.returncode == 0 and "accepted: versions.torch: 1.0 -> " in done.stderr
    assert read_json(run / "manifest.json")["accepted_changes"][0].startswith("versions.torch: 1.0 -> ")
    assert fst_here("cycle", "--out=run", "--resume").returncode == 0, "accepted once is accepted"


def test_a_changed_model_file_is_seen(run, model, fst_here):
    config = model / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace("{", '{"x": 1,', 1))
    done = fst_here("cycle", "--out=run", "--resume")
    config.write_text(kept)
    assert done.returncode == 2 and "model_hash: " in done.stderr
