"""`fst rollout`: sample and score completions."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fst_cli.commands.engine_options import with_engine
from fst_cli.commands.options import (
    Cycle,
    Limit,
    MaxTokens,
    MinP,
    Model,
    Out,
    Problems,
    Prompts,
    Seed,
    Step,
    Temperature,
    TopK,
    TopP,
    Weights,
)  # fmt: skip


@with_engine
def rollout(
    *,
    engines: Any,
    problems: Problems,
    out: Out,
    model: Model = "mini",
    weights: Weights = None,
    prompts: Prompts = None,
    group_size: Annotated[int, typer.Option(min=1, help="G, samples of a problem; each of K prompts gets G/K.")] = 8,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    max_tokens: MaxTokens = 128,
    seed: Seed = 0,
    cycle: Cycle = 0,
    step: Step = 0,
    limit: Limit = None,
    reuse: Annotated[
        Path | None,
        typer.Option(help="An evolution's evaluations.jsonl: its rollouts are claimed before any is sampled."),
    ] = None,
) -> None:
    """Sample completions and score them.

    Writes the records, and beside them a safetensors file with token ids and log-probabilities.

    Example: fst rollout problems.jsonl --model mini --prompts prompts.jsonl --group-size 8 -o rollouts.jsonl
    """
    from functools import partial

    from fst_cli.data.records import Sampling
    from fst_cli.policy.model import load_policy
    from fst_cli.stages.rollout import rollout_stage

    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, max_tokens=max_tokens)
    rollout_stage(
        partial(load_policy, model, weights, lazy=engines.lazy),
        problems,
        prompts,
        out,
        group_size=group_size,
        sampling=sampling,
        seed=seed,
        cycle=cycle,
        step=step,
        engines=engines,
        limit=limit,
        reuse=reuse,
    )
