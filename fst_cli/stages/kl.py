"""The kl stage: problems and trained weights -> kl.jsonl and a summary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.data import jsonl
from fst_cli.data.files import stage
from fst_cli.data.records import Sampling
from fst_cli.engines.registry import Engines
from fst_cli.measure.divergence import divergence, summarise
from fst_cli.policy.model import Policy
from fst_cli.stages.inputs import load_problems, load_prompts


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
) -> dict[str, Any]:
    """Measure KL(π_train ‖ π_base) per token on fresh samples under the lead prompt; the summary figures."""
    problems = load_problems(problems_path, limit)
    prompt = load_prompts(prompts_path, problems)[0]
    policy = load()
    settings = {
        "model": policy.name,
        "policy": policy.hash,
        "prompt": prompt.id,
        "samples": samples,
        "sampling": sampling.model_dump(),
        "seed": seed,
    }
    inputs = {"problems": problems_path, "prompts": prompts_path, "weights": policy.weights}
    with stage("kl", out, inputs, settings) as kept:
        engine = (engines or Engines()).of(policy)
        found = divergence(policy, engine, problems, prompt, samples, sampling, seed, micro_tokens)
        jsonl.write(out, found)
        kept["figures"] = figures = summarise(found)
    mean = figures["kl_per_token"]
    say(f"KL per token {mean['mean']:.4f} [{mean['low']:.4f}, {mean['high']:.4f}] nats, n={mean['n']} -> {out}")
    return figures
