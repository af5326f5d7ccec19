"""The kl stage: problems and trained weights -> kl.jsonl and a summary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.data import jsonl
from fst_cli.data.records import Sampling
from fst_cli.data.stage import stage
from fst_cli.engines.registry import Engines
from fst_cli.measure.divergence import measure, records, summarise, token_records, top_tokens
from fst_cli.policy.model import Policy
from fst_cli.stages.inputs import Under, load_problems, prompts_under


def kl_stage(
    load: Callable[[], Policy],
    problems_path: Path | str,
    prompts_path: Path | None,
    out: Path | str,
    *,
    samples: int,
    sampling: Sampling,
    seed: int,
    engines: Engines | None = None,
    micro_tokens: int = 8192,
    limit: int | None = None,
    under: Under = "lead",
    tokens_out: Path | None = None,
) -> dict[str, Any]:
    """Measure KL(π_train ‖ π_base) per token on fresh samples; the summary figures, over all prompts and by prompt.

    `under` says which prompts the samples are drawn under: the lead prompt, each of the population, the task's seed
    prompt, or none. `tokens_out` gets a record a token.
    """
    problems = load_problems(problems_path, limit)
    prompts = prompts_under(under, prompts_path, problems)
    policy = load()
    settings = {
        "model": policy.name,
        "policy": policy.hash,
        "under": under,
        "prompts": [prompt.id for prompt in prompts],
        "samples": samples,
        "sampling": sampling.model_dump(),
        "seed": seed,
    }
    inputs = {"problems": problems_path, "prompts": prompts_path, "weights": policy.weights}
    with stage("kl", out, inputs, settings) as kept:
        engine = (engines or Engines()).of(policy)
        found = {
            prompt.id: measure(policy, engine, problems, prompt, samples, sampling, seed, micro_tokens)
            for prompt in prompts
        }
        every = [one for measured in found.values() for one in measured]
        by_prompt = {name: records(measured, policy) for name, measured in found.items()}
        whole = [record for part in by_prompt.values() for record in part]
        jsonl.write(out, whole)
        if tokens_out is not None:
            jsonl.write(tokens_out, token_records(every, policy))
        figures = summarise(whole) | {"top_tokens": top_tokens(every, policy)}
        figures["by_prompt"] = {name: summarise(part) for name, part in by_prompt.items()}
        kept["figures"] = figures
    mean, reverse = figures["kl_per_token"], figures["reverse_kl_per_token"]
    what = {"lead": "lead prompt", "each": f"{len(prompts)} prompts", "seed": "seed prompt", "none": "no prompt"}[under]
    say(
        f"KL per token {mean['mean']:.4f} [{mean['low']:.4f}, {mean['high']:.4f}] nats, n={mean['n']}, {what}; reverse "
        f"{reverse['mean']:.4f}; most of it at {_top(figures['top_tokens'])} -> {out}"
    )
    return figures


def _top(tokens: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['token']!r} {one['share']:.0%}" for one in tokens[:3])
