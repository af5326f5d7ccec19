"""Evaluation: mean@k of the reward and of success, with intervals by problem, and the 2×2 grid of FST.

mean@k is the mean over problems of the mean over k samples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fst_cli.data.records import Evaluation, Problem, Prompt, Sampling
from fst_cli.engines.base import Engine
from fst_cli.engines.collect import Slot, collect
from fst_cli.measure.intervals import bootstrap_mean
from fst_cli.policy.model import Policy


def evaluate(
    policy: Policy,
    engine: Engine,
    problems: Sequence[Problem],
    prompt: Prompt,
    samples: int,
    sampling: Sampling,
    seed: int,
    weights: str,
) -> list[Evaluation]:
    """Sample every problem `samples` times under one prompt; one record a problem, in the problems' order.

    The draws depend on seed, problem, prompt and sample, not on the weights: two policies meet the same luck.
    """
    slots = [Slot(problem, prompt, sample) for problem in problems for sample in range(samples)]
    rollouts = collect(policy, engine, slots, sampling, (seed, "eval"), f"evaluating {weights}").rollouts
    found = []
    for start, problem in zip(range(0, len(rollouts), samples), problems, strict=True):
        rows = rollouts[start : start + samples]
        found.append(
            Evaluation(
                problem_id=problem.id,
                prompt_id=prompt.id,
                weights=weights,
                policy=policy.hash,
                rewards=[row.score.reward for row in rows],
                successes=[row.score.success for row in rows],
                truncated=sum(row.finish_reason == "length" for row in rows),
                sampling=sampling,
            )
        )
    return found


def summarise(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """mean@k of reward and success with 95 % intervals by problem, and the share cut at the token limit."""
    k = len(evaluations[0].rewards)
    samples = sum(len(evaluation.rewards) for evaluation in evaluations)
    return {
        f"reward_mean@{k}": bootstrap_mean([float(np.mean(e.rewards)) for e in evaluations]).model_dump(),
        f"success_mean@{k}": bootstrap_mean([float(np.mean(e.successes)) for e in evaluations]).model_dump(),
        "truncated_share": sum(evaluation.truncated for evaluation in evaluations) / samples,
    }
