"""Two processes never work on one run."""

import os
import subprocess
import sys

import pytest

from fst_cli.cycle.lock import locked
from fst_cli.data.errors import UsageError

HOLD = "import sys, pathlib; from fst_cli.cycle.lock import locked\nwith locked(pathlib.Path(sys.argv[1])):\n"
HOLD += "    print('held', flush=True); sys.stdin.read()"


def test_a_second_process_is_refused_with_the_first_ones_number_and_comes_in_after_it(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"process {holder.pid} is running"), locked(run):
            pass
        holder.kill()  # whatever its end, the lock is free
        holder.wait()
        with locked(run), pytest.raises(UsageError, match=f"process {os.getpid()}"), locked(run):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_its_holder_deletes_while_another_opens_it_does_not_count(tmp_path, monkeypatch):
    import fcntl

    real, calls = fcntl.flock, []

    def late(stream, how):
        calls.append(how)
        if len(calls) == 1:  # between opening and locking, the first holder ends
            (tmp_path / ".run.lock").unlink()
        return real(stream, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path / "run"):
        assert len(calls) == 2 and (tmp_path / ".run.lock").read_text() == f"{os.getpid()}\n"
