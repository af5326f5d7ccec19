"""A run of the README's main command, for the tests of the demos."""

import subprocess
import sys
import time

from fst_cli.data.files import read_json


def grid(tmp_path, *options):
    """Run `fst cycle`; (low, mean, high) by cell, and the seconds it took."""
    started = time.monotonic()
    command = [sys.executable, "-m", "fst_cli", "cycle", "--out", "runs/first", *options]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=1500)
    figures = read_json(tmp_path / "runs/first/grid.stage.json")["figures"]
    success = {cell: next(v for k, v in f.items() if k.startswith("success")) for cell, f in figures.items()}
    return {cell: (v["low"], v["mean"], v["high"]) for cell, v in success.items()}, time.monotonic() - started
