"""The README can't drift: every command line in it parses, every option exists, the exit codes are what it says."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from fst_cli.cycle.config import known_keys
from tests.commands.test_help import ROOT

ROOM = Path(__file__).parents[2]
DOCUMENTS = [
    ROOM / "README.md",
    ROOM / "tests/bench/README.md",
    ROOM / "examples/mini/README.md",
    *ROOM.glob("examples/*.sh"),
]
CODES = {"ok": 0, "run failed": 1, "usage or configuration": 2, "bad data": 3, "Ctrl-C": 130, "broken pipe": 141}


def command_lines():
    """Every `fst ...` of the documents: in code spans, code blocks and scripts, without shell variables."""
    for path in DOCUMENTS:
        text = path.read_text().replace("\\\n", " ")
        spans = re.findall(r"`(fst [^`\n]+)`", text) if path.suffix == ".md" else []
        lines = [line.split("&&")[-1].strip() for line in text.splitlines()]
        lines = [line.lstrip("# ") for line in lines]
        for line in [*spans, *(line for line in lines if line.startswith("fst "))]:
            command = re.split(r"\s(?:\|\|?|2?>>?|#)|;", line)[0]  # up to a pipe, a redirection or a comment
            yield f"{path.name}: {command.strip()}"


@pytest.mark.parametrize("line", sorted(set(command_lines())))
def test_every_command_line_of_the_documents_names_what_there_is(line):
    words = shlex.split(line.partition(": ")[2].replace("`", ""))[1:]
    if not words or words[0].startswith("-"):
        assert not words or words[0] in ("--version", "--help")
        return
    name = " ".join(words[:2]) if " ".join(words[:2]) in ROOT else words[0]
    assert name in ROOT, name
    known = {option for parameter in ROOT[name].params for option in parameter.opts}
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
    assert given <= known, given - known
    for key in re.findall(r"--set ((?:fast|slow|eval|engine)\.\w+)=", line):
        assert key in known_keys()


def test_every_dotted_key_of_the_readme_is_one():
    text = (ROOM / "README.md").read_text()
    named = set(re.findall(r"`((?:fast|slow|eval|engine)\.\w+)(?:=[^`]*)?`", text))
    assert named and named <= set(known_keys())


def test_every_file_that_the_documents_link_to_is_there():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_readme_and_the_command_name_the_same_exit_codes():
    sentence = re.search(r"Exit codes: (.*?)\.\n", (ROOM / "README.md").read_text(), re.DOTALL).group(1)
    stated = dict(re.findall(r"(\d+) ([A-Za-z -]+)", " ".join(sentence.split())))
    assert {int(code): name.strip() for code, name in stated.items()} == {code: name for name, code in CODES.items()}


@pytest.mark.parametrize("meaning", CODES)
def test_an_exit_code_means_what_the_readme_says(meaning, tmp_path):
    (tmp_path / "bad.jsonl").write_text("{\n")
    command = {
        "ok": ["schema", "problem"],
        "run failed": ["evolve-prompts", "good.jsonl", "--anchor", "1", "--reflector", "openai:m", "--reflector-base-url",
                       "http://127.0.0.1:9/v1", "--reflector-retries", "0", "--budget", "40", "-o", "out.jsonl"],
        "usage or configuration": ["generate", "--task", "nothing"],
        "bad data": ["rollout", "bad.jsonl", "-o", "out.jsonl"],
        "Ctrl-C": ["gen-stargraph", "--count", "400000", "-o", "out.jsonl"],
        "broken pipe": ["gen-stargraph", "--count", "400"],
    }[meaning]  # fmt: skip
    if "good.jsonl" in command:
        made = ["generate", "--task", "math", "--count", "4", "-o", "good.jsonl"]
        subprocess.run([sys.executable, "-m", "fst_cli", *made], cwd=tmp_path, check=True)
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-m", "fst_cli", *command], cwd=tmp_path, preexec_fn=heed,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
    )  # fmt: skip
    if meaning == "Ctrl-C":
        while not list(tmp_path.glob(".out*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    if meaning == "broken pipe":
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
    _, error = process.communicate(timeout=120)
    assert process.returncode == CODES[meaning], error.decode()
    assert b"Traceback" not in error and not (tmp_path / "out.jsonl").exists()


def _environment():
    return {**os.environ, "OPENAI_API_KEY": "sk-none"}


def test_every_record_has_a_schema_that_is_json():
    from fst_cli.data.records import SCHEMAS

    for name in SCHEMAS:
        done = subprocess.run(
            [sys.executable, "-m", "fst_cli", "schema", name], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["type"] == "object"
