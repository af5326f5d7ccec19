"""The levels of isolation, each skipped with the reason where this machine does not offer it."""

import functools
import os
import time
from pathlib import Path

import pytest

from fst_cli.grading import sandbox

LEVELS = ["bubblewrap", "namespaces", "none"]
ISOLATED = LEVELS[:2]
refusal = functools.cache(sandbox.probe)


def use(level, monkeypatch):
    """Run under this level, or skip."""
    if said := refusal(level):
        how = {
            "bubblewrap": "install bubblewrap (bwrap on PATH)",
            "namespaces": "run as root, or allow user namespaces",
            "none": "needs nothing",
        }
        pytest.skip(f"{said}; to run it: {how[level]}")
    monkeypatch.setenv("FST_SANDBOX", level)


def best():
    """The strongest level that works here."""
    return next(level for level in LEVELS if refusal(level) is None)


def need_isolation():
    """Skip where programs can't be isolated: what they do here must not reach the machine."""
    if best() == "none":
        pytest.skip("no sandbox on this machine; to run it: install bubblewrap or allow user namespaces")


def marked(text):
    """Ids of living processes of this machine whose command line or own name holds `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                words = (entry / "cmdline").read_bytes() + (entry / "comm").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if text.encode() in words and state != "Z":
                    found.append(int(entry.name))
        except (OSError, IndexError):
            continue
    return found


def named(name):
    """Ids of living processes that gave themselves this name."""
    return [pid for pid in marked(name) if _name(pid) == name]


def _name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def gone(text, seconds=3.0):
    """Whether no process with `text` is left within a moment."""
    deadline = time.monotonic() + seconds
    while marked(text):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
