"""One update of the weights: an objective's gradient over micro-batches, then one AdamW step (PAPER section 2)."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fst_cli.console import progress, say
from fst_cli.data.errors import RunError
from fst_cli.policy.logprobs import computed_tokens, decoder, micro_batches
from fst_cli.policy.model import Policy
from fst_cli.slow import memory
from fst_cli.slow.distributed import World, shard, whole
from fst_cli.slow.objective import Objective, Part, joined
from fst_cli.slow.optimizer import load_state, make_optimizer, warmed_up
from fst_cli.slow.settings import TrainSettings


@dataclass(frozen=True)
class Compute:
    """How an update computes: the processes, the tokens of a micro-batch, and the type to compute in."""

    world: World
    micro_tokens: int
    dtype: Any

    def autocast(self, device: Any) -> Any:
        """Trained weights stay float32; matrix products run in `dtype`."""
        import torch

        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)


def prepare(policy: Policy, sequences: list[Any], settings: TrainSettings, world: World) -> Compute:
    """Make a trainable policy ready to compute an update: type, micro-batches, checkpointing, shards."""
    import torch

    narrow = settings.dtype == "bfloat16" or (settings.dtype == "auto" and policy.device.type == "cuda")
    compute = Compute(world, settings.micro_tokens, torch.bfloat16 if narrow else torch.float32)
    if not settings.micro_tokens:
        with compute.autocast(policy.device):
            tokens = memory.automatic_micro_tokens(policy.model, sequences, settings.gradient_checkpointing, world.size)
        compute = Compute(world, tokens, compute.dtype)
    if settings.gradient_checkpointing:
        _checkpoint_layers(policy.model)
    shard(policy.model, world)
    return compute


def update(
    policy: Policy, objective: Objective, settings: TrainSettings, compute: Compute, state: Path | None
) -> tuple[Any, dict[str, Any]]:
    """Update the policy in place; the optimiser, whose state is to be kept, and the step's metrics, flat.

    `state` is the optimiser state to go on from; None starts afresh. Raises RunError when memory runs out, and
    where loss or gradient is not finite.
    """
    import torch

    started, world = time.perf_counter(), compute.world
    optimizer = make_optimizer(policy.model, settings.learning_rate)
    updates = load_state(optimizer, policy.model, state) if state else 0
    for group in optimizer.param_groups:
        group["lr"] = warmed_up(settings.learning_rate, updates, settings.warmup_steps)
    with memory.explained(compute.micro_tokens, settings.gradient_checkpointing):
        figures = _accumulate(policy, objective, compute)
    parameters = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)))
    if not np.isfinite(norm) or not np.isfinite(figures["loss"]):
        raise RunError(f"the loss ({figures['loss']}) or the gradient norm ({norm}) is not finite; nothing was written")
    for parameter in parameters:
        if parameter.grad is None:  # a step without any signal still counts, and its state is still written
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    policy.model.eval()  # ends the checkpointing of layers, which would keep the sampler from caching
    seconds = time.perf_counter() - started
    return optimizer, {
        "update": updates + 1,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "grad_norm": norm,
        **figures,
        "method": settings.method,
        "processes": world.size,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(figures["tokens"] / seconds, 1),
        "peak_memory_bytes": max(world.gather([memory.peak_memory()])),
    }


def _accumulate(policy: Policy, objective: Objective, compute: Compute) -> dict[str, Any]:
    """Gradients of the whole batch's loss, over all processes, and the figures of its tokens."""
    world = compute.world
    batches = micro_batches(policy.model, objective.sequences, compute.micro_tokens, world.size)
    total = sum(len(sequence.inputs) for sequence in objective.sequences)
    computed = sum(computed_tokens(policy.model, [objective.sequences[row] for row in rows]) for rows in batches)
    say(
        f"{len(batches)} micro-batches of at most {compute.micro_tokens} tokens{_on(world)}: {total} tokens, "
        f"{computed} computed"
    )
    found: list[Part] = []
    losses: list[float] = []
    mine = world.share(batches, [])
    with progress("training", len(mine)) as advance:
        for rows in mine:
            with compute.autocast(policy.device):
                part = objective.part(rows or [0])
            # FSDP averages gradients over the processes. An idle process joins in with nothing.
            (part.loss * (world.size if rows else 0)).backward()
            if rows:
                found.append(Part(None, part.sums, part.tokens))
                losses.append(float(part.loss.detach()))
            advance(1)
    sums, tokens = joined(world.gather(found))
    return {
        "loss": sum(world.gather(losses)),
        **objective.figures(sums, tokens),
        "tokens": total,
        "computed_tokens": computed,
        "micro_batches": len(batches),
        "micro_tokens": compute.micro_tokens,
    }


def _on(world: World) -> str:
    return f", over {world.size} processes" if world.size > 1 else ""


def _checkpoint_layers(model: Any) -> None:
    """Keep only each layer's input for the backward pass.

    transformers looks at the layer's training flag. It is set on the layers alone: what is inside them stays in
    evaluation mode, without dropout, as the sampler was.
    """
    import functools

    from torch.utils.checkpoint import checkpoint

    for layer in decoder(model).layers:
        layer.gradient_checkpointing = layer.training = True
        layer._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)
