"""Shared fixtures: the real mini, loaded once."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from fst_cli import app
from fst_cli.data.records import Sampling
from fst_cli.policy.model import load_policy


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
