"""Evaluation: mean@k of the reward and of success, pass@k, pass^k, with intervals by problem.

mean@k is the mean over problems of the mean over k samples. Success is the grader's own word, never a reward above
some number (PITFALLS 14).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fst_cli.data.records import Evaluation, Problem, Prompt, Sampling
from fst_cli.engines.base import Engine
from fst_cli.engines.collect import collect, group_slots
from fst_cli.measure.intervals import Estimate, bootstrap_mean, wilson
from fst_cli.measure.passes import pass_at_k, pass_hat_k, powers_up_to
from fst_cli.policy.model import Policy


def evaluate(
    policy: Policy,
    engine: Engine,
    problems: Sequence[Problem],
    prompts: Sequence[Prompt],
    samples: int,
    sampling: Sampling,
    seed: int,
    weights: str,
) -> list[Evaluation]:
    """Sample every problem `samples` times; one record a problem, in the problems' order.

    Several prompts are a mixture and get equally many samples each: their number divides `samples`. The draws depend on
    seed, problem, prompt and sample, not on the weights: two policies meet the same luck.
    """
    slots = group_slots(problems, prompts, samples)
    rollouts = collect(policy, engine, slots, sampling, (seed, "eval"), f"evaluating {weights}").rollouts
    found = []
    for start, problem in zip(range(0, len(rollouts), samples), problems, strict=True):
        rows = rollouts[start : start + samples]
        found.append(
            Evaluation(
                problem_id=problem.id,
                prompt_id="+".join(prompt.id for prompt in prompts),
                weights=weights,
                policy=policy.hash,
                rewards=[row.score.reward for row in rows],
                successes=[row.score.success for row in rows],
                truncated=sum(row.finish_reason == "length" for row in rows),
                sampling=sampling,
            )
        )
    return found


def paired_difference(ours: Sequence[Evaluation], theirs: Sequence[Evaluation]) -> Estimate:
    """Mean over problems of the difference in success, ours less theirs, with a 95 % bootstrap over problems.

    Paired by problem: what a problem's difficulty adds to both is in neither (PITFALLS 15).
    """
    other = {evaluation.problem_id: float(np.mean(evaluation.successes)) for evaluation in theirs}
    return bootstrap_mean([float(np.mean(e.successes)) - other[e.problem_id] for e in ours])


def summarise(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """mean@n of reward and success, pass@k and pass^k, with 95 % intervals by problem, and the share that was cut.

    With one sample a problem the interval of success is Wilson's, otherwise a bootstrap over problems.
    """
    n = len(evaluations[0].rewards)
    samples = sum(len(evaluation.rewards) for evaluation in evaluations)
    means = [float(np.mean(e.successes)) for e in evaluations]
    success = wilson([e.successes[0] for e in evaluations]) if n == 1 else bootstrap_mean(means)
    figures = {
        f"reward_mean@{n}": bootstrap_mean([float(np.mean(e.rewards)) for e in evaluations]).model_dump(),
        f"success_mean@{n}": success.model_dump(),
    }
    for k in powers_up_to(n):
        for name, chance in (("pass@", pass_at_k), ("pass^", pass_hat_k)):
            values = [chance(n, sum(e.successes), k) for e in evaluations]
            figures[f"{name}{k}"] = bootstrap_mean(values).model_dump()
    return figures | {"truncated_share": sum(evaluation.truncated for evaluation in evaluations) / samples}
