import json


def test_tasks_are_listed_for_eyes_and_for_programs(fst_here):
    shown = fst_here("tasks")
    rows = [json.loads(line) for line in fst_here("tasks", "--json").stdout.splitlines()]
    assert {"math", "gsm8k", "stargraph", "codeio", "hover", "hover-hard", "physics", "gpqa"} <= {
        row["name"] for row in rows
    }
    assert all(row["name"] in shown.stdout for row in rows)
    assert all(set(row) == {"name", "summary", "origin", "size", "licence", "needs"} for row in rows)


def test_one_task_is_shown_with_its_options_and_its_seed_prompt(fst_here):
    shown = fst_here("tasks", "hover").stdout
    assert "corpus = ''" in shown and "You are a research assistant" in shown and "missed_pages" in shown


def test_an_unknown_task_is_a_usage_error(fst_here):
    done = fst_here("tasks", "hovr")
    assert done.returncode == 2 and "did you mean `hover`?" in done.stderr


def test_a_column_is_mapped_on_the_command_line(fst_here, tmp_path):
    rows = [{"input": f"{i}+{i}?", "target": 2.0 * i} for i in range(40)]
    (tmp_path / "mawps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ("--set", "columns.question=input", "--set", "columns.answer=target")
    done = fst_here("generate", "--task", "math", "--data", "mawps.jsonl", *names, "--limit", 3)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    done = fst_here(
        "generate", "--task", "math", "--data", "mawps.jsonl", "--set", "columns.question=text", "--limit", 3
    )
    assert done.returncode == 3 and "mawps.jsonl:1: question" in done.stderr and "input, target" in done.stderr
