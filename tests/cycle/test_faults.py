"""What happens to a run when the machine, the disk or the person gets in the way. tests/README.md has the table.

Each starts `fst cycle` many times; run with: pytest -m 'slow or long' tests/cycle/test_faults.py
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from fst_cli.cycle.config import load_config
from fst_cli.cycle.lock import locked
from fst_cli.cycle.plan import planned
from tests.cycle.forge import Forge
from tests.cycle.tiny import TINY, data_files

POINTS = 50


@pytest.fixture(scope="module")
def forge():
    made = Forge()
    yield made
    made.close()


@pytest.fixture(scope="module")
def finished(forge, tmp_path_factory):
    """A run that nothing disturbed."""
    place = tmp_path_factory.mktemp("finished")
    code, said = forge.run(place, "cycle", "--out=run", *TINY)
    assert code == 0, said
    return place / "run"


def go(forge, place):
    """Begin the run, or go on with it."""
    begun = (place / "run/config.toml").exists()
    return forge.start(place, "cycle", "--out=run", *(["--resume"] if begun else TINY))


def whole(forge, place, finished):
    """Let it come to its end; it is what the undisturbed one is, and nothing else lies about."""
    child = go(forge, place)
    assert child.wait() == 0, child.said()
    assert data_files(place / "run") == data_files(finished)
    assert {path.name for path in place.iterdir()} == {"run"}


def disturbed(forge, place, finished, signals, points):
    """Send `signals` at seeded moments of every stage, until `points` have hit; how often each stage was hit."""
    labels = [stage.label for stage in planned(load_config(finished / "config.toml"), finished)]
    draw, hit, codes = random.Random(0), Counter(), Counter()
    while sum(hit.values()) < points or set(labels) - set(hit):
        assert len(codes) < 10 and sum(codes.values()) < 4 * points, (hit, codes)
        for label in labels:
            child = go(forge, place)
            if child.wait_for(f"[{label}]"):
                time.sleep(draw.choice([0.0, 0.005, 0.02, 0.1]) * draw.random())
                current = child.said().rpartition("[")[2].partition("]")[0]
                for number in signals:
                    child.kill() if number == signal.SIGKILL else child.signal(number)
                    time.sleep(draw.random() * 0.01)
                codes[child.wait()] += 1
                if child.wait() != 0:
                    hit[current if current in labels else label] += 1
            assert child.wait() in (0, -9, 130), child.said()
        whole(forge, place, finished)
        shutil.rmtree(place / "run")
    return hit, codes


@pytest.mark.slow
def test_kill_9_at_any_point_of_any_stage_loses_nothing(forge, finished, tmp_path):
    hit, codes = disturbed(forge, tmp_path, finished, [signal.SIGKILL], POINTS)
    print(f"kill -9: {sum(hit.values())} points, {len(hit)} stages, exits {dict(codes)}")
    assert sum(hit.values()) >= POINTS and codes[-9] >= POINTS


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_with_130_and_loses_nothing(forge, finished, tmp_path, times):
    hit, codes = disturbed(forge, tmp_path, finished, [signal.SIGINT] * times, 20)
    print(f"Ctrl-C {times}: {sum(hit.values())} points, {len(hit)} stages, exits {dict(codes)}")
    assert set(codes) <= {0, 130}


def mounted(place, size):
    """A small file system of its own on `place`; skips where that takes rights that we lack."""
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here (run as root): {done.stderr.decode().strip()}")


@pytest.mark.long
def test_a_full_disk_is_told_and_more_room_is_all_it_needs(forge, finished, tmp_path):
    size = sum(path.stat().st_size for path in finished.rglob("*") if path.is_file())
    outcomes = []
    for part in range(1, 10):
        disk = tmp_path / f"disk-{part}"
        mounted(disk, size * part // 10)
        try:
            child = go(forge, disk)
            code = child.wait()
            outcomes.append(code)
            assert code == 0 or (code == 1 and "No space left on device" in child.said()), child.said()
            assert not list((disk / "run").rglob(".*")), "nothing half-written is left"
            subprocess.run(["mount", "-o", f"remount,size={4 * size}", str(disk)], check=True)
            whole(forge, disk, finished)
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    print(f"disk full: {outcomes.count(1)} of {len(outcomes)} sizes ended with 1")
    assert outcomes.count(1) >= 6


@pytest.mark.slow
def test_a_read_only_disk_is_told_and_nothing_changes(forge, finished, tmp_path):
    disk = tmp_path / "disk"
    mounted(disk, "64m")
    try:
        shutil.copytree(finished, disk / "run")
        (disk / "run/kl.stage.json").unlink()
        before = data_files(disk / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = subprocess.run(
            [sys.executable, "-m", "fst_cli", "cycle", "--out", str(disk / "run"), "--resume"],
            capture_output=True, text=True, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 1 and "Read-only file system" in done.stderr and "Traceback" not in done.stderr
        assert data_files(disk / "run") == before
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--resume"], [*TINY, "--overwrite"]])
def test_a_second_process_on_a_run_is_refused_and_does_no_harm(forge, finished, tmp_path, options):
    shutil.copytree(finished, tmp_path / "run")
    with locked(tmp_path / "run"):
        code, said = forge.run(tmp_path, "cycle", "--out=run", *options)
        assert code == 2 and f"process {os.getpid()} is running run" in said
    assert data_files(tmp_path / "run") == data_files(finished)


@pytest.mark.slow
def test_a_clock_that_goes_backwards_changes_nothing(finished, tmp_path, fst_here, monkeypatch):
    start, real = time.time(), time.monotonic
    monkeypatch.setattr(time, "time", lambda: start - 3600 * (real() % 100))
    done = fst_here("cycle", "--out=run", *TINY)
    assert done.returncode == 0, done.stderr
    assert data_files(tmp_path / "run") == data_files(finished)
    assert all(stage["seconds"] >= 0 for stage in _stages(tmp_path / "run"))


def _stages(folder):
    import json

    return [json.loads(path.read_text()) for path in folder.rglob("*stage.json")]


@pytest.mark.slow
def test_a_terminal_that_is_resized_or_goes_away_changes_nothing(finished, tmp_path):
    import fcntl
    import pty
    import struct
    import termios

    for leave in (False, True):
        place = tmp_path / str(leave)
        place.mkdir()
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "fst_cli", "cycle", "--out=run", *TINY]
        child = subprocess.Popen(command, cwd=place, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        seen, width = b"", 120
        while b"step 1" not in seen:
            seen += os.read(master, 4096)
            width = 200 - width if width < 100 else 37
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            child.send_signal(signal.SIGWINCH)
        if leave:
            os.close(master)
            child.wait(timeout=120)
            if child.returncode:
                done = subprocess.run([*command[:5], "--resume"], cwd=place, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr
        else:
            _drain(master, child)
            os.close(master)
            assert child.returncode == 0, seen
        assert data_files(place / "run") == data_files(finished)


def _drain(master, child):
    while child.poll() is None:
        try:
            os.read(master, 65536)
        except OSError:  # the other end is closed
            child.wait(timeout=60)
