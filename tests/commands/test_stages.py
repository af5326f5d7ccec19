"""Each stage alone, through pipes and files, with the real mini."""

import json

import pytest

from fst_cli.data.files import read_json


def rows(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def problems(fst_here, tmp_path):
    done = fst_here("generate", "--task", "math", "--count", "4", "--difficulty", "1", "-o", "problems.jsonl")
    assert done.returncode == 0, done.stderr
    return tmp_path / "problems.jsonl"


def test_data_goes_to_standard_output_and_the_rest_to_standard_error(fst):
    done = fst("gen-stargraph", "--d", "3", "--p", "3", "--n", "20", "--count", "5", "--split", "test")
    assert len(rows(done.stdout)) == 5 and "5 test problems" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_stages_chain_over_pipes(fst):
    problems = fst("generate", "--task", "math", "--count", "3").stdout
    done = fst("rollout", "-", "--group-size", "2", "--max-tokens", "8", "-o", "-", stdin=problems)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert len(found) == 6 and all(row["row"] is None for row in found)
    done = fst("eval", "-", "--samples", "2", "--max-tokens", "8", "-o", "-", stdin=problems)
    assert len(rows(done.stdout)) == 3 and "current: success" in done.stderr


def test_the_schema_is_json(fst):
    assert json.loads(fst("schema", "rollout").stdout)["title"] == "Rollout"


def test_a_step_can_be_made_by_hand(fst_here, problems, tmp_path):
    for command in (
        ["rollout", "problems.jsonl", "--group-size", "4", "--max-tokens", "16", "-o", "s/rollouts.jsonl"],
        ["train-step", "s/rollouts.jsonl", "-o", "s"],
        ["rollout", "problems.jsonl", "--weights", "s/weights", "--group-size", "4", "--max-tokens", "16", "--step", "1",
         "-o", "t/rollouts.jsonl"],
        ["train-step", "t/rollouts.jsonl", "--weights", "s/weights", "-o", "t"],
        ["evolve-prompts", "problems.jsonl", "--weights", "t/weights", "-K", "2", "--budget", "20", "--anchor", "2",
         "--minibatch", "2", "--max-tokens", "16", "-o", "prompts.jsonl"],
        ["eval", "problems.jsonl", "--weights", "t/weights", "--prompts", "prompts.jsonl", "--grid", "--samples", "1",
         "--max-tokens", "16", "-o", "grid.jsonl"],
        ["kl", "problems.jsonl", "--weights", "t/weights", "--prompts", "prompts.jsonl", "--max-tokens", "16", "-o",
         "kl.jsonl"],
        *(["eval", "problems.jsonl", "--prompts", "prompts.jsonl", "--samples", "2", "--max-tokens", "8", "--under", under,
           "-o", f"{under}.jsonl"] for under in ("each", "mixture", "none")),
        ["kl", "problems.jsonl", "--weights", "t/weights", "--prompts", "prompts.jsonl", "--max-tokens", "16", "--under",
         "each", "--tokens", "tokens.jsonl", "-o", "kl-each.jsonl"],
    ):  # fmt: skip
        done = fst_here(*command)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout == ""
    assert read_json(tmp_path / "t/train.json")["update"] == 2
    assert len((tmp_path / "prompts.jsonl").read_text().splitlines()) == 2
    assert len(rows((tmp_path / "grid.jsonl").read_text())) == 4 * 4
    cells = {
        under: read_json(tmp_path / f"{under}.stage.json")["settings"]["cells"] for under in ("each", "mixture", "none")
    }
    assert len(cells["each"]) == 2 and "+" in cells["mixture"]["current"]["prompt"] and len(cells["none"]) == 1
    figures = read_json(tmp_path / "kl-each.stage.json")["figures"]
    names = {row["id"] for row in rows((tmp_path / "prompts.jsonl").read_text())}
    assert set(figures["by_prompt"]) == names and figures["samples"] == 4 * len(names)
    assert len(rows((tmp_path / "tokens.jsonl").read_text())) == figures["tokens"]
    assert (tmp_path / "prompts-evolve/proposals.jsonl").exists()
    stage = read_json(tmp_path / "t/rollouts.stage.json")
    assert set(stage["inputs"]) == {"problems", "weights"} and stage["settings"]["address"] == [0, "rollout", 0, 1]


def test_rollouts_cut_at_the_limit_are_warned_of(fst_here, problems):
    done = fst_here("rollout", "problems.jsonl", "--group-size", "2", "--max-tokens", "2", "-o", "r.jsonl")
    assert "warning: 100% of the completions were cut at 2 tokens" in done.stderr


def test_prompts_can_be_distilled_by_hand(fst_here, problems, tmp_path):
    for command in (
        ["seed-prompt", "--instruction", "", "-o", "none.jsonl"],
        ["seed-prompt", "--task", "math", "-o", "prompts.jsonl"],
        ["rollout", "problems.jsonl", "--prompts", "none.jsonl", "--max-tokens", "16", "-o", "s/rollouts.jsonl"],
        ["train-step", "s/rollouts.jsonl", "--loss", "distill", "--problems", "problems.jsonl", "--prompts",
         "prompts.jsonl", "-o", "s"],
        ["train-step", "s/rollouts.jsonl", "--loss", "distill", "--problems", "problems.jsonl", "--prompts",
         "prompts.jsonl", "--weights", "s/weights", "--teacher-weights", "s/weights", "-o", "t"],
    ):  # fmt: skip
        done = fst_here(*command)
        assert done.returncode == 0, (command, done.stderr)
    first, second = (read_json(tmp_path / step / "train.json") for step in "st")
    assert 0 < second["kl_to_teacher"] < first["kl_to_teacher"]
    stage = read_json(tmp_path / "t/train.stage.json")
    assert set(stage["inputs"]) == {"rollouts", "optimizer", "weights", "problems", "prompts", "teacher"}
