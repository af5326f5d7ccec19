"""Bad input: one sentence, the right exit code, no traceback, nothing half-written (PITFALLS 26 to 29)."""

import json
import signal
import subprocess
import sys
from functools import partial

import pytest

PROBLEM = {
    "id": "p",
    "task": "math",
    "split": "train",
    "messages": [{"role": "user", "content": "1+1?"}],
    "answer": "2",
}


def lines(*values):
    return "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values)


CASES = [
    ("missing file", None, ["rollout", "none.jsonl", "-o", "out.jsonl"], 3, "none.jsonl: no such file"),
    ("folder", None, ["rollout", ".", "-o", "out.jsonl"], 3, "is a folder"),
    ("empty file", "", ["rollout", "in.jsonl", "-o", "out.jsonl"], 3, "holds no problem"),
    ("broken JSON", lines(PROBLEM, "{"), ["rollout", "in.jsonl", "-o", "out.jsonl"], 3, "in.jsonl:2: not valid JSON"),
    ("unknown field", lines({**PROBLEM, "anser": 1}), ["eval", "in.jsonl", "-o", "out.jsonl"], 3, "in.jsonl:1: anser"),
    ("bad value", lines({**PROBLEM, "split": "dev"}), ["kl", "in.jsonl", "--weights", ".", "-o", "o"], 3, "in.jsonl:1: split"),
    ("twice the same id", lines(PROBLEM, PROBLEM), ["rollout", "in.jsonl", "-o", "out.jsonl"], 3, "p is there twice"),
    ("unknown task", lines({**PROBLEM, "task": "maths"}), ["rollout", "in.jsonl", "-o", "o"], 2, "did you mean `math`?"),
    ("K does not divide G", lines(PROBLEM), ["rollout", "in.jsonl", "--prompts", "three.jsonl", "-o", "o"], 2, "multiple"),
    ("edited prompt", lines(PROBLEM), ["rollout", "in.jsonl", "--prompts", "edited.jsonl", "-o", "o"], 3, "not the hash"),
    ("unknown model", lines(PROBLEM), ["rollout", "in.jsonl", "--model", "mimi", "-o", "out.jsonl"], 2, "`mini`"),
    ("unknown option", None, ["rollout", "in.jsonl", "--tempreature", "1"], 2, "--temperature"),
    ("unknown command", None, ["rolout"], 2, "rolout"),
    ("generate: unknown task", None, ["generate", "--task", "mth", "-o", "out.jsonl"], 2, "did you mean `math`?"),
    ("generate: unknown option", None, ["generate", "--task", "math", "--set", "d=1", "-o", "out.jsonl"], 2, "no option"),
    ("generate: unknown split", None, ["generate", "--task", "math", "--split", "tset", "-o", "out.jsonl"], 2, "`test`"),
    ("stargraph: pool", None, ["gen-stargraph", "--d", "9", "--p", "9", "--n", "9", "-o", "out.jsonl"], 2, "more than"),
    ("schema", None, ["schema", "rolout"], 2, "did you mean `rollout`?"),
    ("cycle: no task", None, ["cycle", "--out", "run"], 2, "--task is missing"),
    ("cycle: unknown task", None, ["cycle", "--task", "chess", "--out", "run"], 2, "unknown task `chess`"),
    ("cycle: unknown key", None, ["cycle", "--task", "math", "--out", "run", "--set", "slow.lr=1"], 2, "unknown key"),
    ("cycle: no pair", None, ["cycle", "--task", "math", "--out", "run", "--set", "slow.lr"], 2, "name=value"),
    ("cycle: not a run", lines(PROBLEM), ["cycle", "--task", "math", "--out", "."], 2, "not empty and not a run"),
    ("cycle: nothing to resume", None, ["cycle", "--out", "run", "--resume"], 3, "config.toml"),
    ("cycle: unknown model", None, ["cycle", "--task", "math", "--model", "mimi", "--out", "run"], 2, "unknown model"),
    ("train: method", None, ["train-step", "in.jsonl", "--method", "qlora", "-o", "out"], 2, "--method qlora"),
    ("train: tis on cispo", None, ["train-step", "in.jsonl", "--tis", "2", "-o", "out"], 2, "importance sampling already"),
    ("train: rate", None, ["train-step", "in.jsonl", "--lr", "0", "-o", "out"], 2, "--learning-rate 0.0: input should"),
    ("train: distill", None, ["train-step", "in.jsonl", "--loss", "distill", "-o", "out"], 2, "needs --problems"),
    ("train: no teacher", None, ["train-step", "in.jsonl", "--prompts", "p.jsonl", "-o", "out"], 2, "--loss distill"),
    ("cycle: tis on cispo", None, ["cycle", "--task", "math", "--out", "run", "--set", "slow.tis=2"], 2, "already"),
    ("train: no file", None, ["train-step", "in.jsonl", "-o", "out"], 3, "in.jsonl: no such file"),
    ("eval: grid", lines(PROBLEM), ["eval", "in.jsonl", "--grid", "-o", "out.jsonl"], 2, "--weights and --prompts"),
    ("evolve: stdin", None, ["evolve-prompts", "-", "-o", "out.jsonl"], 2, "--anchor"),
    ("evolve: budget", lines(PROBLEM), ["evolve-prompts", "in.jsonl", "--budget", "3", "-o", "out.jsonl"], 2, "affords"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "args", "code", "said"), CASES, ids=[case[0] for case in CASES])
def test_bad_input_is_one_sentence_with_the_right_code_and_no_file(fst, tmp_path, name, content, args, code, said):
    from fst_cli.data import jsonl
    from fst_cli.fast.population import make_prompt

    jsonl.write(tmp_path / "three.jsonl", [make_prompt(str(i)) for i in range(3)])
    jsonl.write(tmp_path / "edited.jsonl", [make_prompt("a").model_copy(update={"instruction": "b"})])
    if content is not None:
        (tmp_path / "in.jsonl").write_text(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = fst(*args)
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_reader_that_leaves_is_exit_141_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "fst_cli", "gen-stargraph", "--count", "400"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read().decode()
    assert process.wait() == 141 and "Traceback" not in error and "BrokenPipe" not in error


def test_ctrl_c_is_exit_130_and_leaves_no_file(tmp_path):
    command = [sys.executable, "-m", "fst_cli", "gen-stargraph", "--count", "400000", "-o", "out.jsonl"]
    heeding = partial(
        signal.signal, signal.SIGINT, signal.SIG_DFL
    )  # a shell's background jobs ignore it, and so on down
    process = subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path, preexec_fn=heeding)
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    error = process.communicate()[1].decode()
    assert process.returncode == 130 and "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
