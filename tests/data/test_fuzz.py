"""Thousands of broken files for every reader: a clean error that names the file, or records; never anything else.

Half of the cases change bytes of a good file (flips, cuts, insertions, repeats), half put another JSON value somewhere
into a good record; hypothesis draws them, and makes one that fails small. The fast set has 300 of each; run all with:
FST_FUZZ_CASES=10000 pytest -s tests/data/test_fuzz.py
"""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest
import tomli_w
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from fst_cli.cycle.config import load_config, make_config
from fst_cli.cycle.recipes import recipe
from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import DataError, FstError
from fst_cli.data.records import SCHEMAS, Example, Sampling
from fst_cli.data.stage import changed_outputs, is_up_to_date, stage
from fst_cli.data.tensors import Tokens
from fst_cli.engines.reuse import load_kept
from fst_cli.fast.population import make_prompt, scored
from fst_cli.measure.history import load_history
from fst_cli.slow.groups import load_batch
from fst_cli.stages.inputs import load_problems, load_prompts
from fst_cli.tasks.rows import read_rows

CASES = int(os.environ.get("FST_FUZZ_CASES", "300"))
STRANGE = [
    None, True, -1, 0, 1e308, 2**63, -(2**70), "", "x", "\x00", "\ud7ff", "-", "../../etc/passwd", [], [[]], {}, {"": None},
    [None] * 3, "NaN", 0.1, "💥" * 9, {"a": {"b": [1, {"c": 2}]}},
]  # fmt: skip
TOKENS = [
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r\n",
    b"\n",
    b'"',
    b"{",
    b"}",
    b"[[",
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"=",
]


def try_all(check):
    """Calls check(draw) CASES times, always the same; `draw` is a random.Random that hypothesis makes small."""
    options = {"derandomize": True, "database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
    settings(max_examples=CASES, **options)(given(st.randoms(use_true_random=False))(check))()


def mutated(content, draw):
    """Some bytes changed, cut out, inserted or repeated."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 5])):
        place = draw.randrange(len(changed) + 1)
        end = min(len(changed), place + draw.choice([1, 2, 8, 64]))
        how = draw.randrange(5)
        if how == 0 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif how == 1:
            del changed[place:end]
        elif how == 2:
            changed[place:place] = draw.choice(TOKENS)
        elif how == 3:
            changed[place:place] = changed[place:end]
        else:
            del changed[place:]
    return bytes(changed)


def replaced(value, draw):
    """The same JSON value with a strange one somewhere in it, or without a key."""
    value = json.loads(json.dumps(value))
    places = []

    def collect(inner):
        keys = inner if isinstance(inner, dict) else range(len(inner))
        for key in keys:
            places.append((inner, key))
            if isinstance(inner[key], dict | list):
                collect(inner[key])

    collect(value)
    holder, key = draw.choice(places)
    if draw.random() < 0.2:
        del holder[key]
    else:
        holder[key] = draw.choice(STRANGE)
    return value


def fuzz(path, good, read, records=None, named=True):
    """Read CASES broken versions of `good` at `path`; how many were read, and how many refused by which error.

    `records` are the file's JSON values, a line each, where it is of such.
    """
    found = Counter()

    def check(draw):
        if records and draw.random() < 0.5:
            rows = [replaced(row, draw) if draw.random() < 0.5 else row for row in records]
            path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
        else:
            path.write_bytes(mutated(good, draw))
        try:
            read(path)
            found["read"] += 1
        except FstError as error:
            found[type(error).__name__] += 1
            assert not named or isinstance(error, DataError), error
            assert not named or str(path) in str(error) or str(path.parent) in str(error), error

    try_all(check)
    print(f"{path.name}: {sum(found.values())} cases, {dict(found)}")
    assert found["read"] < CASES <= sum(found.values())
    return found


SCORE = {"reward": 1.0, "success": True, "feedback": "right", "failure": None, "status": "ok"}
ROLLOUT = {
    "id": "p/x/0", "group_id": "p", "problem_id": "p", "prompt_id": "x", "sample": 0, "seed": 1, "text": "4", "turns": [],
    "finish_reason": "stop", "prompt_tokens": 2, "completion_tokens": 2, "score": SCORE, "policy": "a", "template": "b",
    "sampling": Sampling().model_dump(), "reused": False, "row": 0,
}  # fmt: skip
PROBLEM = {
    "id": "p", "task": "math", "split": "train", "messages": [{"role": "user", "content": "2+2?"}], "answer": "4",
    "meta": {"solution": "2+2=4"},
}  # fmt: skip
PROMPT = scored(make_prompt("Add.", [Example(question="1+1?", reply="2", problem_id="q")]), {"p": 1.0}).model_dump()
GOOD = {
    "problem": PROBLEM,
    "prompt": PROMPT,
    "rollout": ROLLOUT,
    "evaluation": {
        "problem_id": "p", "prompt_id": "x", "weights": "base", "policy": "a", "rewards": [1.0], "successes": [True],
        "truncated": 0, "sampling": Sampling().model_dump(),
    },
    "divergence": {
        "problem_id": "p", "prompt_id": "x", "policy": "a", "tokens": 3, "kl": 0.1, "reverse_kl": 0.1, "k1": 0.1, "k3": 0.1
    },
    "token-divergence": {
        "problem_id": "p", "prompt_id": "x", "sample": 0, "place": 0, "token_id": 5, "token": "x", "kl": 0.1, "k1": 0.1,
        "reverse_kl": 0.1,
    },
    "proposal": {"index": 0, "parents": ["x"], "reflector": "heuristic", "edit": "e", "instruction": "i",
                 "outcome": "accepted"},
}  # fmt: skip


def lines(*rows):
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_any_file_of_records(tmp_path, name):
    rows = [GOOD[name]] * 2
    written = tmp_path / "again.jsonl"

    def read(path):
        """What is read can be written, and is read as the same."""
        found = list(jsonl.read(path, SCHEMAS[name]))
        jsonl.write(written, found)
        assert list(jsonl.read(written, SCHEMAS[name])) == found

    fuzz(tmp_path / "x.jsonl", lines(*rows), read, rows)


def test_any_problems_and_any_population(tmp_path):
    rows = [PROBLEM, PROBLEM | {"id": "q"}]
    # An unknown task is told by its name, as at the command line.
    fuzz(tmp_path / "problems.jsonl", lines(*rows), load_problems, rows, named=False)
    problems = load_problems(_written(tmp_path / "good.jsonl", lines(*rows)))
    fuzz(tmp_path / "prompts.jsonl", lines(PROMPT), lambda path: load_prompts(path, problems), [PROMPT])


def _written(path, content):
    path.write_bytes(content)
    return path


def _pair(folder):
    """Two rollouts with their arrays; the arrays' file."""
    rows = [ROLLOUT, ROLLOUT | {"id": "p/x/1", "sample": 1, "row": 1}]
    path = _written(folder / "x.jsonl", lines(*rows))
    arrays = [Tokens([1, 2], [3, 4], np.array([-0.1, -0.2], np.float32))] * 2
    tensors.write(tensors.beside(path), arrays)
    return path, rows


def test_any_safetensors_beside_good_rollouts(tmp_path):
    path, _ = _pair(tmp_path)
    arrays = tensors.beside(path)
    good = arrays.read_bytes()

    def read(_):
        load_kept(path)
        load_batch(path)

    fuzz(arrays, good, read)


def test_any_rollouts_beside_good_safetensors(tmp_path):
    path, rows = _pair(tmp_path)

    def read(_):
        load_kept(path)
        load_batch(path)

    fuzz(path, path.read_bytes(), read, rows)


def test_any_configuration(tmp_path):
    good = make_config(recipe("demo", "math", "mini")).model_dump(mode="json", exclude_none=True)
    path, found = tmp_path / "config.toml", Counter()

    def check(draw):
        try:
            content = tomli_w.dumps(replaced(good, draw)) if draw.random() < 0.5 else None
        except (TypeError, ValueError):  # TOML has no such value
            reject()
        path.write_bytes(content.encode() if content else mutated(tomli_w.dumps(good).encode(), draw))
        try:
            load_config(path)
            found["read"] += 1
        except FstError as error:
            found[type(error).__name__] += 1

    try_all(check)
    print(f"config.toml: {sum(found.values())} cases, {dict(found)}")
    assert sum(found.values()) >= CASES and found["UsageError"] > CASES / 10 and found["DataError"] > CASES / 10


def test_any_metrics_of_a_run(tmp_path, plant):
    points = [(0, False, 0, {"math": 0.1}, {}), (2, False, 96, {"math": 0.5}, {"math": 0.1})]
    run = plant(tmp_path / "run", points)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    fuzz(run / "metrics.jsonl", lines(*rows), lambda _: load_history(run), rows)


def test_any_configuration_of_a_run_that_is_reported(tmp_path, plant):
    run = plant(tmp_path / "run", [(0, False, 0, {"math": 0.1}, {})])
    fuzz(run / "config.toml", (run / "config.toml").read_bytes(), lambda _: load_history(run))


def test_any_stage_mark(tmp_path):
    out = tmp_path / "x.jsonl"
    with stage("rollout", out, {"problems": _written(tmp_path / "in.jsonl", b"x")}, {"seed": 0}):
        out.write_bytes(b"y")
    mark = tmp_path / "x.stage.json"
    good = json.loads(mark.read_text())

    def read(path):
        changed_outputs(out)
        is_up_to_date(out, [tmp_path / "in.jsonl"])

    fuzz(mark, mark.read_bytes(), read, [good])


def test_any_data_set(tmp_path):
    rows = [{"question": f"{i}+1?", "answer": f"#### {i + 1}"} for i in range(3)]

    def read(path):
        for row in read_rows(str(path), {"question": "question"}):
            row.text("question")

    fuzz(tmp_path / "x.jsonl", lines(*rows), read, rows)
    fuzz(tmp_path / "y.json", json.dumps(rows).encode(), read)
    assert Path(tmp_path / "x.jsonl").exists()
