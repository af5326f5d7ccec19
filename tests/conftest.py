"""Shared fixtures: the real mini, loaded once."""

import subprocess
import sys

import pytest

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
