"""Shared fixtures: the real mini, loaded once."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tomli_w

from fst_cli import app
from fst_cli.data.records import Message, Problem, Sampling, Score
from fst_cli.policy.model import load_policy
from fst_cli.tasks import registry
from fst_cli.tasks.base import Source, Task


@pytest.fixture(scope="session")
def mini():
    """The embedded model; not to be trained in place."""
    return load_policy("mini")


@pytest.fixture
def fresh_mini():
    """A copy of the embedded model that a test may train."""
    return load_policy("mini")


@pytest.fixture
def sampling():
    return Sampling(temperature=1.0, max_tokens=24)


@pytest.fixture(scope="module")
def calculator():
    """A task whose tool answers every turn but those of problems without one; its problems, every other without."""

    def respond(problem, turns):
        return f"Tool call {len(turns)} gives {problem.answer}." if problem.meta["tool"] else None

    def score(problem, text):
        right = problem.answer in text
        return Score(reward=float(right), success=right, feedback=text)

    task = Task("calculator", "a toy", "", lambda *_: iter([]), score, Source("", "", ""), respond=respond, max_turns=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.tasks(), "calculator", task)
        yield [
            Problem(
                id=f"c{i}", task="calculator", split="train", answer=str(7 * i), meta={"tool": i % 2 == 0},
                messages=[Message(role="user", content=f"What is {3 * i} + {4 * i}?")],
            )
            for i in range(4)
        ]  # fmt: skip


@pytest.fixture
def fst(tmp_path):
    """Run the `fst` command in a child process, in an empty folder."""

    def run(*args, stdin=None):
        command = [sys.executable, "-m", "fst_cli", *map(str, args)]
        return subprocess.run(command, cwd=tmp_path, input=stdin, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture
def fst_here(tmp_path, monkeypatch, capfd):
    """The same in this process, which saves the seconds that importing torch and transformers takes."""

    def run(*args):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["fst", *map(str, args)])
        capfd.readouterr()
        try:
            app.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


@pytest.fixture
def plant():
    """Write a run's config.toml and metrics.jsonl with planted figures.

    `points` are (update, evolved, rollouts, success by task, KL by task).
    """

    def write(folder, points, task="math", seed=0, **config):
        folder.mkdir(parents=True)
        values = {
            "task": task, "seed": seed, "fast": {"enabled": True}, "slow": {"enabled": True},
            "eval": {"problems": 50, "samples": 2, "kl_problems": 10}, **config,
        }  # fmt: skip
        (folder / "config.toml").write_text(tomli_w.dumps(values))
        rows = []
        for number, (update, evolved, rollouts, success, kl) in enumerate(points):
            row = {"update": update, "cost/rollouts": rollouts}
            row |= {"cost/generated_tokens": 50 * rollouts, "cost/seconds": rollouts / 10}
            row |= {"cycle": 0} if number else {}
            row |= {"step": update - 1} if number and not evolved else {}
            for name, found in (("eval/{}success_mean@2", success), ("kl/{}kl_per_token", kl)):
                for one, value in found.items():
                    key = name.format(f"{one}/" if "," in task else "")
                    row |= {key: value, f"{key}/low": value - 0.1, f"{key}/high": value + 0.1}
            rows.append(row)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write


def _lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="session")
def task_options_of(tmp_path_factory):
    """Options by task that give it a few small problems, from files of each data set's form."""
    folder = tmp_path_factory.mktemp("tasks")
    count = range(120)
    sums = [
        {"question": f"Ana has {i} pens and buys 2. How many?", "answer": f"{i}+2={i + 2}\n#### {i + 2}"} for i in count
    ]
    math = _lines(folder / "math.jsonl", sums)
    choices = [
        {
            "question": f"Which is {i} m in cm?",
            "choices": {"text": [f"{i * 10**k} cm" for k in (2, 1, 3, 4)], "label": list("ABCD")},
            "answerKey": "A",
            "domain": "Physics",
            "type": "mcq-4-choices",
        }
        for i in range(1, 121)
    ]
    choice = _lines(folder / "choice.jsonl", choices)
    pages = [{"title": f"Person{i}", "text": f"Person{i} was born in City{i}."} for i in count]
    pages += [{"title": f"City{i}", "text": f"City{i} lies at River{i}."} for i in count]
    pages += [{"title": f"River{i}", "text": "A body of water."} for i in count]
    corpus = _lines(folder / "pages.jsonl", pages)
    claims = [
        {
            "claim": f"The birthplace of Person{i} lies at a river.",
            "supporting_facts": [[f"Person{i}", 0], [f"City{i}", 0], [f"River{i}", 0]],
        }
        for i in count
    ]
    hover = {"data": _lines(folder / "claims.jsonl", claims), "corpus": corpus, "first_k": 1, "k": 3}
    functions = [{"code": f"def f(x):\n    return x + {i}", "input": "1", "output": str(1 + i)} for i in count]
    codeio = _lines(folder / "codeio.jsonl", functions)
    functions = [
        {
            "task_id": f"HumanEval/{i}",
            "entry_point": "add",
            "prompt": f'def add(x):\n    """Add {i}."""\n',
            "canonical_solution": f"    return x + {i}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {i + 1}\n",
        }
        for i in count
    ]
    humaneval = _lines(folder / "humaneval.jsonl", functions)
    asserted = [
        {
            "task_id": i,
            "text": f"Write a function that adds {i}.",
            "code": f"def add(x):\n    return x + {i}",
            "test_list": [f"assert add(1) == {i + 1}", f"assert add(2) == {i + 2}"],
            "test_setup_code": "",
            "challenge_test_list": [],
        }
        for i in count
    ]
    mbpp = _lines(folder / "mbpp.jsonl", asserted)
    contests = [
        {
            "question": f"Read a number and print it plus {i}.",
            "starter_code": "",
            "input_output": json.dumps({"inputs": ["1\n", "5\n"], "outputs": [f"{i + 1}\n", f"{i + 5}\n"]}),
            "solutions": json.dumps([f"print(int(input()) + {i})"]),
        }
        for i in count
    ]
    apps = _lines(folder / "apps.jsonl", contests)
    live = [
        {
            "question_content": f"Add {i}.",
            "starter_code": "class Solution:\n    def add(self, x: int) -> int:\n        ",
            "public_test_cases": json.dumps([{"input": "1", "output": str(i + 1), "testtype": "functional"}]),
            "private_test_cases": "[]",
            "metadata": json.dumps({"func_name": "add"}),
        }
        for i in count
    ]
    livecodebench = _lines(folder / "livecodebench.jsonl", live)
    by_file = {name: {"data": math} for name in ("gsm8k", "math500", "polaris", "aime", "hmmt")}
    by_file |= {name: {"data": choice} for name in ("choice", "physics", "gpqa")}
    return by_file | {
        "math": {"difficulty": 2},
        "stargraph": {"d": 3, "p": 3, "n": 20},
        "hover": hover,
        "hover-hard": hover,
        "hover-2hop": hover,
        "math-python": {"difficulty": 2},
        "humaneval": {"data": humaneval, "seconds": 1},
        "mbpp": {"data": mbpp, "seconds": 1},
        "apps": {"data": apps, "seconds": 1},
        "livecodebench": {"data": livecodebench, "seconds": 1},
        "codeio": {"data": codeio},
        "gym:chain_sum": {},
    }
