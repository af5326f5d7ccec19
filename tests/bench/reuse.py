"""Rollout reuse, with and without: python tests/bench/reuse.py RUN [--cycle 0]

Makes the rollouts of each RL step of a finished run again, from its files, with the evolution's rollouts claimed and
with all of them sampled, in turns. Prints the share claimed, the seconds of both and their ratio.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from fst_cli.cycle.config import load_config
from fst_cli.engines.registry import Engines
from fst_cli.policy.model import load_policy
from fst_cli.stages.rollout import rollout_stage

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", type=Path)
parser.add_argument("--cycle", type=int, default=0)
given = parser.parse_args()
config, place = load_config(given.run / "config.toml"), given.run / f"cycle-{given.cycle:03d}"
folders = sorted(place.glob("step-*"))
rows = []
for step, folder in enumerate(folders):
    policy = load_policy(config.model, folders[step - 1] / "weights" if step else None)
    seconds, shares = [], []
    evaluations = place / "evolve" / "evaluations.jsonl"
    for reuse in (*([None] if not rows else []), evaluations, None):  # the very first warms up and does not count
        with tempfile.TemporaryDirectory() as scratch:
            started = time.perf_counter()
            figures = rollout_stage(
                lambda policy=policy: policy, folder / "problems.jsonl", place / "prompts.jsonl",
                Path(scratch) / "rollouts.jsonl", group_size=config.slow.group_size, sampling=config.sampling,
                seed=config.seed, cycle=given.cycle, step=step, engines=Engines(config.engine), reuse=reuse,
            )  # fmt: skip
            seconds.append(time.perf_counter() - started)
            shares.append(figures["reused_share"])
    rows.append((shares[-2], *seconds[-2:]))
    print("step {}: {:.0%} claimed; {:.2f} s, without reuse {:.2f} s".format(step, *rows[-1]), flush=True)
share, reused, sampled = np.array(rows).T
print(
    f"all {len(rows)} steps: {share.mean():.0%} claimed; {reused.sum():.2f} s, without reuse {sampled.sum():.2f} s, "
    f"ratio {reused.sum() / sampled.sum():.2f} (by step {(reused / sampled).min():.2f}-{(reused / sampled).max():.2f})"
)
