"""Runs with planted figures: config.toml and metrics.jsonl as `fst cycle` writes them."""

import json

import pytest
import tomli_w


@pytest.fixture
def plant():
    """Write a run into a folder. `points` are (update, evolved, rollouts, success by task, KL by task)."""

    def write(folder, points, task="math", seed=0, **config):
        folder.mkdir(parents=True)
        values = {
            "task": task, "seed": seed, "fast": {"enabled": True}, "slow": {"enabled": True},
            "eval": {"problems": 50, "samples": 2, "kl_problems": 10}, **config,
        }  # fmt: skip
        (folder / "config.toml").write_text(tomli_w.dumps(values))
        rows = []
        for number, (update, evolved, rollouts, success, kl) in enumerate(points):
            row = {"update": update, "cost/rollouts": rollouts}
            row |= {"cycle": 0} if number else {}
            row |= {"step": update - 1} if number and not evolved else {}
            for name, found in (("eval/{}success_mean@2", success), ("kl/{}kl_per_token", kl)):
                for one, value in found.items():
                    key = name.format(f"{one}/" if "," in task else "")
                    row |= {key: value, f"{key}/low": value - 0.1, f"{key}/high": value + 0.1}
            rows.append(row)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return write
