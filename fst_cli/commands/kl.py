"""`fst kl`: how far trained weights have moved from the base model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fst_cli.commands.engine_options import with_engine
from fst_cli.commands.options import (
    Limit,
    MaxTokens,
    MicroTokens,
    Model,
    Out,
    Problems,
    Prompts,
    Samples,
    Seed,
    Temperature,
)  # fmt: skip


@with_engine
def kl(
    *,
    engines: Any,
    problems: Problems,
    weights: Annotated[Path, typer.Option(help="Trained weights: the weights/ folder of a train-step.")],
    out: Out,
    model: Model = "mini",
    prompts: Prompts = None,
    samples: Samples = 1,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 128,
    micro_tokens: MicroTokens = 8192,
    seed: Seed = 0,
    limit: Limit = None,
    under: Annotated[
        str, typer.Option(help="Sample under the lead prompt, each of them, the seed prompt, or none.")
    ] = "lead",
    tokens: Annotated[Path | None, typer.Option(help="Also write a record a token to this file.")] = None,
) -> None:
    """Measure the token-level KL of trained from base weights on fresh samples of the trained ones.

    Exact over the whole vocabulary at every sampled token, with a 95 % interval by problem; the reverse KL, k1 and k3
    beside it, and the tokens that the drift is made of.

    Example: fst kl test.jsonl --model mini --weights step-00/weights -o kl.jsonl
    """
    from functools import partial
    from typing import get_args

    from fst_cli.data.records import Sampling
    from fst_cli.policy.model import load_policy
    from fst_cli.stages.inputs import Under, one_of
    from fst_cli.stages.kl import kl_stage

    kl_stage(
        partial(load_policy, model, weights, lazy=engines.lazy),
        problems,
        prompts,
        out,
        samples=samples,
        sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
        seed=seed,
        engines=engines,
        micro_tokens=micro_tokens,
        limit=limit,
        under=one_of("--under", under, list(get_args(Under))),
        tokens_out=tokens,
    )
