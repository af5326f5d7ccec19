"""The rollout stage: problems.jsonl and prompts.jsonl -> rollouts.jsonl and rollouts.safetensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.data import jsonl, tensors
from fst_cli.data.records import Sampling
from fst_cli.data.stage import stage
from fst_cli.engines.collect import collect, group_slots, warn_if_truncated
from fst_cli.engines.registry import Engines
from fst_cli.engines.reuse import claim, load_kept, with_claimed
from fst_cli.policy.model import Policy
from fst_cli.stages.inputs import load_problems, load_prompts


def rollout_stage(
    load: Callable[[], Policy],
    problems_path: Path | str,
    prompts_path: Path | None,
    out: Path | str,
    *,
    group_size: int,
    sampling: Sampling,
    seed: int,
    cycle: int = 0,
    step: int = 0,
    engines: Engines | None = None,
    limit: int | None = None,
    reuse: Path | None = None,
) -> dict[str, Any]:
    """Roll out G samples a problem, G/K under each prompt; the summary figures.

    Slots claim the matching rollouts of `reuse`, an evolution's evaluations.jsonl, before any is sampled.
    The policy is loaded when the inputs have been read: bad input is told at once.
    On standard output the records go alone: `row` is null, as their arrays are not kept.
    """
    problems = load_problems(problems_path, limit)
    prompts = load_prompts(prompts_path, problems)
    slots = group_slots(problems, prompts, group_size)
    kept_rollouts = load_kept(reuse) if reuse else []
    policy = load()
    settings = {
        "model": policy.name,
        "policy": policy.hash,
        "group_size": group_size,
        "sampling": sampling.model_dump(),
        "address": [seed, "rollout", cycle, step],
    }
    inputs = {"problems": problems_path, "prompts": prompts_path, "weights": policy.weights, "reuse": reuse}
    arrays = [] if str(out) == "-" else [tensors.beside(out)]
    with stage("rollout", out, inputs, settings, arrays) as kept:
        engine = (engines or Engines()).of(policy)
        claimed = claim(kept_rollouts, slots, sampling, policy.template)
        live = [slot for place, slot in enumerate(slots) if place not in claimed]
        found = collect(policy, engine, live, sampling, (seed, "rollout", cycle, step), "rolling out")
        found = with_claimed(found, claimed)
        rollouts = found.rollouts
        if str(out) == "-":
            rollouts = [rollout.model_copy(update={"row": None}) for rollout in rollouts]
        else:
            tensors.write(tensors.beside(out), found.tokens)
        jsonl.write(out, rollouts)
        figures = found.figures() | (engine.agreement.figures() if engine.agreement else {})
        kept["figures"] = figures
    warn_if_truncated(figures, sampling.max_tokens)
    say(
        f"{figures['rollouts']} rollouts{_reused(figures)}, reward {figures['reward_mean']:.3f}, "
        f"{figures['tokens_per_second']:.0f} tokens/s ({engine.name} engine{_agreement(figures)}) -> {out}"
    )
    return figures


def _agreement(figures: dict[str, Any]) -> str:
    if "mismatch_kl" not in figures:
        return ""
    low, *_, high = figures["ratio_quantiles"]
    return f"; mismatch KL {figures['mismatch_kl']:.1e}, ratios {low:.4f} to {high:.4f} on {figures['probed']} samples"


def _reused(figures: dict[str, Any]) -> str:
    return f", {figures['reused']} of them kept ones" if figures["reused"] else ""
