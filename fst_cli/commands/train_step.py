"""`fst train-step`: one update of the weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fst_cli.commands.options import MicroTokens, Model, OutFolder, Seed, Weights


def train_step(
    rollouts: Annotated[Path, typer.Argument(help="Rollouts (JSONL), with the safetensors file beside them.")],
    out: OutFolder,
    model: Model = "mini",
    weights: Weights = None,
    optimizer: Annotated[
        Path | None, typer.Option(help="Optimiser state to go on from; by default the one beside --weights.")
    ] = None,
    method: Annotated[str, typer.Option(help="lora (a PEFT adapter) or full (all weights).")] = "lora",
    lora_rank: Annotated[int, typer.Option(min=1, help="Rank of a new adapter.")] = 16,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", min=0.0, help="AdamW.")] = 2e-3,
    warmup_steps: Annotated[int, typer.Option(min=0, help="Updates of linear warm-up.")] = 2,
    clip_interval: Annotated[
        tuple[float, float], typer.Option(help="CISPO clamps the ratio of trainer to sampler to this interval.")
    ] = (0.0, 4.0),
    advantage_norm: Annotated[str, typer.Option(help="group-std, or none to leave the division out.")] = "group-std",
    zero_variance: Annotated[str, typer.Option(help="keep or drop groups whose rewards are all equal.")] = "keep",
    kl_coefficient: Annotated[float, typer.Option(min=0.0, help="k3 penalty to the base model.")] = 1e-3,
    max_grad_norm: Annotated[float, typer.Option(min=0.0, help="Gradient clipping.")] = 1.0,
    micro_tokens: MicroTokens = 8192,
    seed: Seed = 0,
) -> None:
    """Make one CISPO update from a batch of rollouts; write weights, optimiser state and metrics.

    Example: fst train-step rollouts.jsonl --model mini --method lora --lr 2e-3 -o step-00
    """
    from functools import partial

    from fst_cli.policy.model import load_policy
    from fst_cli.slow.train import TrainSettings
    from fst_cli.stages.inputs import one_of
    from fst_cli.stages.train import state_beside, train_stage

    choice: dict[str, Any] = {
        "method": one_of("--method", method, ["lora", "full"]),
        "advantage_norm": one_of("--advantage-norm", advantage_norm, ["group-std", "none"]),
        "zero_variance": one_of("--zero-variance", zero_variance, ["keep", "drop"]),
    }
    settings = TrainSettings(
        rank=lora_rank,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        clip_interval=clip_interval,
        kl_coefficient=kl_coefficient,
        max_grad_norm=max_grad_norm,
        micro_tokens=micro_tokens,
        seed=seed,
        **choice,
    )
    train_stage(
        partial(load_policy, model, weights), rollouts, out, settings=settings, state=optimizer or state_beside(weights)
    )
