"""Three hundred steps: memory, open files, time and disk do not grow with what has been done."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cycle.forge import Forge
from tests.cycle.tiny import TINY

STEPS, CYCLES = 100, 3


def resident(pid):
    """MiB of memory, and the number of open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.long  # 300 steps, about three minutes; run with: pytest -m long tests/cycle/test_soak.py
def test_a_long_run_stays_as_it_was(tmp_path):
    forge = Forge()
    options = [
        *TINY, f"--cycles={CYCLES}", f"--steps-per-cycle={STEPS}", "--set=keep_weights=last", "--set=keep_optimizer=last", "--set=eval.every=100",
        "--set=slow.group_size=4",
    ]  # fmt: skip
    child = forge.start(tmp_path, "cycle", "--out=run", *options)
    folder, seen = tmp_path / "run", []
    for cycle in range(CYCLES):
        for step in range(STEPS):
            mark = folder / f"cycle-{cycle:03d}/step-{step:02d}/train.stage.json"
            while not mark.exists():
                assert child.alive(), child.said()
                time.sleep(0.005)
            if step % 10 == 9 and (cycle, step) != (CYCLES - 1, STEPS - 1):
                seen.append(resident(child.pid))
    assert child.wait() == 0, child.said()
    forge.close()

    memory, files = np.array(seen).T
    late, early = memory[-5:].max(), memory[5:10].max()
    assert late < 1.1 * early, f"memory grew from {early:.0f} to {late:.0f} MiB"
    # The least of several, as a file that is just being written counts; what the first cycle's end loads stays open.
    assert files[-10:].min() <= files[10:15].min(), f"open files: {files}"

    marks = sorted(folder.glob("cycle-*/step-*/train.stage.json"), key=lambda path: path.stat().st_mtime_ns)
    ends = np.array([path.stat().st_mtime_ns for path in marks]) / 1e9
    gaps = np.diff(ends)
    first, last = np.median(gaps[10:60]), np.median(gaps[-50:])
    print(
        f"memory {early:.0f} -> {late:.0f} MiB, files {files[10:15].min()} -> {files[-10:].min()}, step {first:.2f} -> {last:.2f} s"
    )
    assert last < 2 * first, f"a step took {first:.3f} s at first and {last:.3f} s at last"

    assert len(list(folder.glob("cycle-*/step-*/weights"))) == 2 == len(list(folder.glob("**/optimizer.safetensors")))
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["update"] for row in rows][-1] == CYCLES * STEPS
    assert len(rows) == 1 + CYCLES * (STEPS + 1)
