import pytest

from fst_cli.data import jsonl
from fst_cli.data.records import Example
from fst_cli.fast.population import make_prompt, scored, select


@pytest.fixture
def population(tmp_path):
    seed = make_prompt("Add the numbers [now].")
    child = make_prompt(
        "Add both numbers [now]. 答えは箱に。", [Example(question="1+1?", reply="2", problem_id="p9")],
        parents=[seed.id], origin="edit", edit="add: both", cycle=1,
    )  # fmt: skip
    pool = [scored(child, {"p1": 1.0, "p2": 0.5}), scored(make_prompt("Other."), {"p1": 0.0, "p2": 1.0})]
    jsonl.write(tmp_path / "prompts.jsonl", select(pool, 3))
    jsonl.write(tmp_path / "prompts.lineage.jsonl", [seed])
    return seed, child


def test_a_population_is_shown_with_its_figures_diffs_and_lineage(fst, population):
    seed, child = population
    done = fst("prompts", "show", "prompts.jsonl")
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
    assert "3 prompts" in done.stdout and "0.750" in done.stdout
    assert "Add[- the-]{+ both+} numbers [now].{+ 答えは箱に。+}" in done.stdout
    assert "+ example p9: 1+1?" in done.stdout
    lines = done.stdout.splitlines()
    root = next(i for i, line in enumerate(lines) if line.strip() == "lineage")
    order = [next(i for i, line in enumerate(lines[root:]) if one.id in line) for one in (seed, child)]
    assert order[0] < order[1] and f"{child.id} [rank 0] cycle 1, edit: add: both" in done.stdout
    assert "scores on the anchor" not in done.stdout


def test_the_matrix_shows_who_is_best_where(fst, population):
    done = fst("prompts", "show", "prompts.jsonl", "--matrix")
    row = next(line for line in done.stdout.splitlines() if "p2" in line and "example" not in line)
    assert "0.5" in row and "1*" in row


def test_a_population_that_is_none_is_a_data_error(fst, tmp_path):
    (tmp_path / "x.jsonl").write_text('{"id": "a", "instructions": ""}\n')
    done = fst("prompts", "show", "x.jsonl")
    assert done.returncode == 3 and "did you mean `instruction`?" in done.stderr


def test_a_prompt_cannot_command_the_terminal(fst_here, tmp_path):
    hostile = "\x1b]0;owned\x07\x1b[2J[red]x[/red]\x9b31m"
    prompt = scored(
        make_prompt(hostile, [Example(question=hostile, reply="2", problem_id="p")], edit=hostile), {"p": 1.0}
    )
    jsonl.write(tmp_path / "prompts.jsonl", select([prompt], 1))
    done = fst_here("prompts", "show", "prompts.jsonl", "--matrix")
    assert done.returncode == 0 and not set(done.stdout) & set("\x1b\x07\x9b")
    assert "␛]0;owned␇␛[2J[red]x[/red]‹U+009B›31m" in done.stdout, "it is shown, whole"
