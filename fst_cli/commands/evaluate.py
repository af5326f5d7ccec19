"""`fst eval`: reward and success on held-out problems."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fst_cli.commands.engine_options import with_engine
from fst_cli.commands.options import (
    Limit,
    MaxTokens,
    MinP,
    Model,
    Out,
    Problems,
    Prompts,
    Samples,
    Seed,
    Temperature,
    TopK,
    TopP,
    Weights,
)  # fmt: skip


@with_engine
def evaluate(
    *,
    engines: Any,
    problems: Problems,
    out: Out,
    model: Model = "mini",
    weights: Weights = None,
    prompts: Prompts = None,
    seed_prompts: Annotated[
        Path | None, typer.Option(help="With --grid: the seed population; by default the task's seed prompt.")
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="Evaluate {base, trained} x {seed, evolved}; needs --weights and --prompts.")
    ] = False,
    under: Annotated[
        str, typer.Option(help="The lead prompt, each of them, all as a mixture, the seed prompt, or none.")
    ] = "lead",
    samples: Samples = 4,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    top_k: TopK = 0,
    min_p: MinP = 0.0,
    max_tokens: MaxTokens = 128,
    seed: Seed = 0,
    limit: Limit = None,
) -> None:
    """Evaluate weights and prompts: mean@k, unbiased pass@k and pass^k, with 95 % intervals by problem.

    The lead prompt is the first of --prompts. Several cells have their paired difference to the first.

    Example: fst eval test.jsonl --model mini --weights step-00/weights --prompts prompts.jsonl --grid -o grid.jsonl
    """
    from typing import get_args

    from fst_cli.data.errors import UsageError
    from fst_cli.data.records import Sampling
    from fst_cli.policy.model import load_policy
    from fst_cli.stages.evaluate import Cell, eval_stage
    from fst_cli.stages.inputs import Under, load_problems, load_prompts, one_of, prompts_under, saved_stdin

    if grid and under != "lead":
        raise UsageError("--grid is under the seed and the lead prompt", hint="leave out --under")
    if grid and not (weights and prompts):
        raise UsageError("--grid needs trained weights and evolved prompts", hint="give --weights and --prompts")
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, max_tokens=max_tokens)
    with saved_stdin(problems) as path:
        known = load_problems(path, limit)
        how = one_of("--under", under, [*get_args(Under), "mixture"])
        chosen = load_prompts(prompts, known) if how == "mixture" else prompts_under(how, prompts, known)
        policy = load_policy(model, weights, lazy=engines.lazy)
        cells = [Cell("current", policy, chosen)]
        if how == "each":
            cells = [Cell(f"current+{prompt.id}", policy, [prompt]) for prompt in chosen]
        if grid:
            lead = chosen[0]
            first = load_prompts(seed_prompts, known)[0]
            base = load_policy(model, lazy=engines.lazy)
            cells = [
                Cell("base+seed", base, [first]),
                Cell("base+evolved", base, [lead]),
                Cell("trained+seed", policy, [first]),
                Cell("trained+evolved", policy, [lead]),
            ]
        eval_stage(
            cells,
            path,
            out,
            samples=samples,
            sampling=sampling,
            seed=seed,
            engines=engines,
            limit=limit,
            prompts_path=prompts,
        )
