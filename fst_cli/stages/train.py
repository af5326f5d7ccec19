"""The train-step stage: rollouts.jsonl -> weights/, optimizer.safetensors and train.json."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fst_cli.console import say, warn
from fst_cli.data import jsonl
from fst_cli.data.files import write_json
from fst_cli.data.records import Prompt
from fst_cli.data.stage import stage
from fst_cli.policy.model import Policy, make_trainable, save_weights
from fst_cli.slow.distill import Distillation, teacher_sequences
from fst_cli.slow.distributed import World, shard, whole
from fst_cli.slow.groups import Batch, load_batch, variance_shares
from fst_cli.slow.objective import Objective
from fst_cli.slow.optimizer import save_state
from fst_cli.slow.policy_gradient import PolicyGradient
from fst_cli.slow.settings import TrainSettings
from fst_cli.slow.update import Compute, prepare, update
from fst_cli.stages.inputs import load_problems

STATE = "optimizer.safetensors"


@dataclass(frozen=True)
class Teacher:
    """What distillation reads besides the rollouts. Without `load`, the teacher is the policy itself."""

    problems: Path
    prompts: Path
    load: Callable[[], Policy] | None = None
    weights: Path | None = None


def train_stage(
    load: Callable[[], Policy],
    rollouts_path: Path,
    out: Path,
    *,
    settings: TrainSettings,
    seed: int,
    state: Path | None,
    teacher: Teacher | None = None,
    world: World | None = None,
) -> dict[str, Any]:
    """One update of the loaded policy, in place and on disk; the step's metrics. The seed is a new adapter's.

    Of several processes, the main one writes.
    """
    world = world or World()
    batch = load_batch(rollouts_path)
    policy = load()
    target = out / "train.json"
    kept_settings = {"model": policy.name, "policy": policy.hash, "seed": seed, **settings.model_dump(mode="json")}
    inputs: dict[str, Path | None] = {"rollouts": rollouts_path, "optimizer": state, "weights": policy.weights}
    if teacher:
        inputs |= {"problems": teacher.problems, "prompts": teacher.prompts, "teacher": teacher.weights}
    made = (out / "weights", out / STATE)
    with stage("train-step", target, inputs, kept_settings, made) if world.is_main else contextlib.nullcontext():
        out.mkdir(parents=True, exist_ok=True)
        metrics = _train(policy, batch, settings, seed, state, out, teacher, world)
        _save(policy, out / "weights", world)
        if world.is_main:
            metrics["policy"] = policy.hash
            write_json(target, metrics)
    say(
        f"update {metrics['update']}: reward {metrics['reward_mean']:.3f}, loss {metrics['loss']:+.4f}, gradient "
        f"{metrics['grad_norm']:.3f}, mixed groups {metrics['groups_mixed_share']:.0%}"
        f"{_clip(metrics.get('clip_interval'))} -> {out}"
    )
    return metrics


def _train(
    policy: Policy,
    batch: Batch,
    settings: TrainSettings,
    seed: int,
    state: Path | None,
    out: Path,
    teacher: Teacher | None,
    world: World,
) -> dict[str, Any]:
    others = {rollout.policy for rollout in batch.rollouts if not rollout.reused} - {policy.hash}
    if others:
        warn(f"the rollouts come from weights {', '.join(sorted(others))}, not from the ones to train: off-policy")
    make_trainable(policy, settings.method, settings.lora_rank, seed)
    compute = prepare(policy, batch.sequences, settings, world)
    objective = _objective(policy, batch, settings, compute, teacher)
    optimizer, metrics = update(policy, objective, settings, compute, state)
    save_state(optimizer, policy.model, out / STATE, metrics["update"], world)
    return {
        "loss_name": settings.loss,
        **metrics,
        **variance_shares(batch),
        "trained_tokens": sum(len(sequence.target_ids) for sequence in objective.sequences),
    }


def _objective(
    policy: Policy, batch: Batch, settings: TrainSettings, compute: Compute, teacher: Teacher | None
) -> Objective:
    if teacher is None:
        return PolicyGradient(policy, batch, settings, compute)
    prompts = jsonl.read_all(teacher.prompts, Prompt)
    under_prompts = teacher_sequences(policy, batch, load_problems(teacher.problems), prompts)
    other = teacher.load() if teacher.load else None
    if other:
        shard(other.model, compute.world)
    return Distillation(policy, batch, settings, under_prompts, other)


def _save(policy: Policy, target: Path, world: World) -> None:
    """Write the trained weights, the same files whatever the number of processes."""
    state: dict[str, Any] | None = None
    if world.size > 1:
        state = {}
        for name, parameter in policy.model.named_parameters():  # which names a shared one once
            if parameter.requires_grad:
                gathered = whole(parameter.detach())  # by all processes together
                state |= {name: gathered.cpu()} if world.is_main else {}
    if world.is_main:
        save_weights(policy, target, state)
    world.wait()


def _clip(interval: list[float] | None) -> str:
    return f", clip {interval}" if interval else ""


def state_beside(weights: Path | None) -> Path | None:
    """The optimiser state that was written with these weights, if it is there."""
    state = weights.parent / STATE if weights else None
    return state if state and state.exists() else None
