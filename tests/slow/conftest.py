"""Rollouts of the real mini and one update of it."""

from pathlib import Path

import pytest

from fst_cli.data import jsonl, tensors
from fst_cli.data.records import Sampling, Score
from fst_cli.engines.collect import collect, group_slots
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.policy.model import load_policy
from fst_cli.slow.settings import TrainSettings
from fst_cli.stages.train import state_beside, train_stage
from fst_cli.tasks import math


@pytest.fixture(scope="session")
def problems():
    return list(math.problems(math.MathOptions(difficulty=1), "train", 4, 0))


@pytest.fixture(scope="session")
def roll_out(mini, problems, tmp_path_factory):
    """Roll out under some instructions; every third rollout is rewarded, so that groups are mixed."""

    def run(*instructions):
        slots = group_slots(problems, [make_prompt(instruction) for instruction in instructions], 4)
        found = collect(mini, TransformersEngine(mini), slots, Sampling(max_tokens=16), (0,), "")
        rewarded = [
            r.model_copy(update={"score": Score(reward=float(i % 3 == 0), success=i % 3 == 0, feedback="")})
            for i, r in enumerate(found.rollouts)
        ]
        path = tmp_path_factory.mktemp("rollouts") / "rollouts.jsonl"
        tensors.write(tensors.beside(path), found.tokens)
        jsonl.write(path, rewarded)
        return path

    return run


@pytest.fixture(scope="session")
def written(roll_out):
    """16 rollouts: 4 problems, 2 prompts, 2 samples."""
    return roll_out(math.SEED_PROMPT, "")


@pytest.fixture
def make_settings():
    """Settings for a visible change of a tiny adapter."""

    def make(**changes):
        usual = {"method": "lora", "lora_rank": 4, "learning_rate": 1e-2, "warmup_steps": 2, "kl_coefficient": 0.0}
        return TrainSettings(**usual | {"max_grad_norm": 1e9, "micro_tokens": 4096} | changes)

    return make


@pytest.fixture
def step(make_settings):
    """Update the mini from a rollouts.jsonl; the metrics and the policy."""

    def run(rollouts, out, weights=None, teacher=None, **changes):
        policy = load_policy("mini", weights)
        metrics = train_stage(
            lambda: policy, rollouts, Path(out), settings=make_settings(**changes), seed=0,
            state=state_beside(weights), teacher=teacher,
        )  # fmt: skip
        return metrics, policy

    return run
