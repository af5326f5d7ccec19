"""`fst train-step`: one update of the weights."""

from pathlib import Path
from typing import Annotated

import typer

from fst_cli.commands.options import Model, OutFolder, Seed, Weights


def train_step(
    rollouts: Annotated[Path, typer.Argument(help="Rollouts (JSONL), with the safetensors file beside them.")],
    out: OutFolder,
    model: Model = "mini",
    weights: Weights = None,
    optimizer: Annotated[
        Path | None, typer.Option(help="Optimiser state to go on from; by default the one beside --weights.")
    ] = None,
    method: Annotated[str, typer.Option(help="lora (a PEFT adapter) or full (all weights).")] = "lora",
    lora_rank: Annotated[int, typer.Option(help="Rank of a new adapter.")] = 16,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", help="AdamW.")] = 2e-3,
    warmup_steps: Annotated[int, typer.Option(help="Updates of linear warm-up.")] = 2,
    max_grad_norm: Annotated[float, typer.Option(help="Gradient clipping.")] = 1.0,
    loss: Annotated[str, typer.Option(help="cispo, grpo, dapo, dr-grpo, gspo, reinforce, or distill.")] = "cispo",
    clip_interval: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Interval of the ratio: 0 4 is [0, 4]. By default the loss's own (cispo 0 4, grpo 0.8 1.2)."),
    ] = None,
    aggregation: Annotated[
        str | None,
        typer.Option(help="Mean over tokens by problem, token or sequence, or constant; by default the loss's own."),
    ] = None,
    baseline: Annotated[str, typer.Option(help="Mean of the problem, of the prompt, or leave-one-out.")] = "problem",
    advantage_norm: Annotated[
        str | None, typer.Option(help="Divide by group-std, batch-std, or none; by default the loss's own.")
    ] = None,
    tis: Annotated[
        float | None,
        typer.Option(help="Cap of the truncated importance weight of sampler to trainer; 0 = none (not with cispo)."),
    ] = None,
    zero_variance: Annotated[str, typer.Option(help="keep or drop groups whose rewards are all equal.")] = "keep",
    kl_coefficient: Annotated[
        float | None, typer.Option(help="Penalty for leaving the base model; 0 = none. By default 1e-3.")
    ] = None,
    kl_estimator: Annotated[str, typer.Option(help="k1, k2 or k3.")] = "k3",
    kl_in: Annotated[str, typer.Option(help="The penalty is part of the loss or of the reward.")] = "loss",
    micro_tokens: Annotated[
        int, typer.Option(help="Tokens of a micro-batch; lower saves memory. 0 = by the machine's memory.")
    ] = 0,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Keep one input a layer: less memory, a third slower.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16; trained weights stay float32.")] = "auto",
    float32_logits: Annotated[
        bool, typer.Option("--float32-logits", help="Compute the output layer in float32 (ScaleRL).")
    ] = False,
    problems: Annotated[Path | None, typer.Option(help="distill: the problems of the rollouts.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="distill: the prompts the teacher sees.")] = None,
    teacher_weights: Annotated[
        Path | None, typer.Option(help="distill: frozen weights of the teacher; by default those to train.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Make one update from a batch of rollouts; write weights, optimiser state and metrics.

    Settings left out are those the loss was published with. Several processes:
    torchrun --nproc-per-node 2 -m fst_cli train-step rollouts.jsonl -o step-00

    Example: fst train-step rollouts.jsonl --model mini --loss cispo --clip-interval 0 4 --lr 2e-3 -o step-00
    """
    from functools import partial

    from fst_cli.data.errors import UsageError
    from fst_cli.policy.model import load_policy
    from fst_cli.slow.distributed import processes
    from fst_cli.slow.settings import TrainSettings
    from fst_cli.stages.inputs import from_options
    from fst_cli.stages.train import Teacher, state_beside, train_stage

    settings = from_options(
        TrainSettings,
        method=method,
        lora_rank=lora_rank,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        max_grad_norm=max_grad_norm,
        loss=loss,
        clip_interval=clip_interval,
        aggregation=aggregation,
        baseline=baseline,
        advantage_norm=advantage_norm,
        tis=tis,
        zero_variance=zero_variance,
        kl_coefficient=kl_coefficient,
        kl_estimator=kl_estimator,
        kl_in=kl_in,
        micro_tokens=micro_tokens,
        gradient_checkpointing=gradient_checkpointing,
        dtype=dtype,
        float32_logits=float32_logits,
    )
    teacher = None
    if loss == "distill":
        if problems is None or prompts is None:
            raise UsageError("--loss distill needs --problems and --prompts", hint="the teacher reads them")
        frozen = partial(load_policy, model, teacher_weights) if teacher_weights else None
        teacher = Teacher(problems, prompts, frozen, teacher_weights)
    elif problems or prompts or teacher_weights:
        raise UsageError("--problems, --prompts and --teacher-weights belong to --loss distill")
    with processes() as world:
        train_stage(
            partial(load_policy, model, weights),
            rollouts,
            out,
            settings=settings,
            seed=seed,
            state=optimizer or state_beside(weights),
            teacher=teacher,
            world=world,
        )
