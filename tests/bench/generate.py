"""How fast star graphs of the paper's shape are made and written: python tests/bench/generate.py [COUNT]

Prints graphs per second, and the ratio to merely serialising the same records again.
"""

import sys
import tempfile
import time
from pathlib import Path

from fst_cli.data import jsonl
from fst_cli.tasks import stargraph

count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
with tempfile.TemporaryDirectory() as folder:
    started = time.perf_counter()
    problems = list(stargraph.problems(stargraph.StarGraphOptions(), "train", count, 0))
    jsonl.write(Path(folder) / "graphs.jsonl", problems)
    made = time.perf_counter() - started
    started = time.perf_counter()
    jsonl.write(Path(folder) / "again.jsonl", problems)
    again = time.perf_counter() - started
print(f"{count} graphs (25, 20, 500) in {made:.2f} s: {count / made:.0f}/s; {made / again:.1f} x serialising alone")
