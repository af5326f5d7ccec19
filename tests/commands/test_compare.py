"""`fst compare` on planted runs and on real evaluations."""

import json

import pytest

RL = [(0, False, 0, {"math": 0.1}, {}), (2, False, 192, {"math": 0.5}, {"math": 0.04})]
FST = [
    (0, False, 0, {"math": 0.1}, {}),
    (0, True, 90, {"math": 0.6}, {}),
    (2, False, 282, {"math": 0.7}, {"math": 0.01}),
]


def test_data_goes_to_standard_output_and_the_table_to_standard_error(fst_here, plant, tmp_path):
    plant(tmp_path / "rl", RL)
    plant(tmp_path / "fst", FST)
    done = fst_here("compare", "fst", "rl")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["arms"] == ["fst", "rl"] and found["tasks"]["math"]["to_their_best"]["update"]["ours"]["mean"] == 0
    assert (
        "updates to rl's best" in done.stderr
        and "0.700" in done.stderr
        and "fit of rl: refused: 1 points" in done.stderr
    )
    assert "are all runs finished?" not in done.stderr
    assert fst_here("compare", "fst", "rl", "-o", "compare.json").stdout == ""
    assert json.loads((tmp_path / "compare.json").read_text()) == found


def test_runs_that_stand_elsewhere_are_told(fst_here, plant, tmp_path):
    plant(tmp_path / "rl", RL)
    plant(tmp_path / "fst", FST[:2])
    done = fst_here("compare", "fst", "rl")
    assert done.returncode == 0 and "after [0] and [2] updates: are all runs finished?" in done.stderr


def test_two_evaluations_are_compared_problem_by_problem(fst_here, tmp_path):
    made = [
        ["generate", "--task=math", "--set=difficulty=1", "--split=test", "--count=6", "--out=test.jsonl"],
        ["seed-prompt", "--instruction", "Add.", "-o", "prompts.jsonl"],
        ["eval", "test.jsonl", "--max-tokens=24", "--samples=2", "-o", "seed.jsonl"],
        ["eval", "test.jsonl", "--max-tokens=24", "--samples=2", "--prompts=prompts.jsonl", "-o", "other.jsonl"],
        ["eval", "test.jsonl", "--max-tokens=24", "--samples=2", "--limit=3", "-o", "short.jsonl"],
    ]
    for arguments in made:
        done = fst_here(*arguments)
        assert done.returncode == 0, done.stderr
    done = fst_here("compare", "other.jsonl", "seed.jsonl")
    ours, theirs = (
        [json.loads(line)["successes"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("other.jsonl", "seed.jsonl")
    )
    expected = sum(sum(a) - sum(b) for a, b in zip(ours, theirs, strict=True)) / 12
    assert json.loads(done.stdout)["success_difference"]["mean"] == pytest.approx(expected)
    done = fst_here("compare", "short.jsonl", "seed.jsonl")
    assert done.returncode == 3 and "not on the same problems" in done.stderr and done.stdout == ""
    done = fst_here("compare", "seed.jsonl", "seed.jsonl", "--cell=curent")
    assert done.returncode == 3 and "has no cell `curent`" in done.stderr and "`current`" in done.stderr


@pytest.mark.parametrize(
    ("places", "code", "said"),
    [
        (["rl", "nowhere"], 3, "nowhere: holds no run"),
        (["rl", "rl"], 2, "given twice"),
        (["rl", "seed-9"], 2, "no seed in common"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_sentence(fst_here, plant, tmp_path, places, code, said):
    plant(tmp_path / "rl", RL)
    plant(tmp_path / "seed-9", FST, seed=9)
    done = fst_here("compare", *places)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
