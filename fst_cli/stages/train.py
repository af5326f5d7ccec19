"""The train-step stage: rollouts.jsonl -> weights/, optimizer.safetensors and train.json."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.data.files import stage, write_json
from fst_cli.policy.model import Policy, save_weights
from fst_cli.slow.groups import load_batch
from fst_cli.slow.train import TrainSettings, train_step

STATE = "optimizer.safetensors"


def train_stage(
    load: Callable[[], Policy], rollouts_path: Path, out: Path, *, settings: TrainSettings, state: Path | None
) -> dict[str, Any]:
    """One update of the loaded policy, in place and on disk; the step's metrics."""
    batch = load_batch(rollouts_path)
    policy = load()
    target = out / "train.json"
    kept_settings = {"model": policy.name, "policy": policy.hash, **vars(settings)}
    inputs = {"rollouts": rollouts_path, "optimizer": state, "weights": policy.weights}
    with stage("train-step", target, inputs, kept_settings):
        out.mkdir(parents=True, exist_ok=True)
        metrics = train_step(policy, batch, settings, state, out)
        save_weights(policy, out / "weights")
        metrics["policy"] = policy.hash
        write_json(target, metrics)
    say(
        f"update {metrics['update']}: reward {metrics['reward_mean']:.3f}, loss {metrics['loss']:+.4f}, gradient "
        f"{metrics['grad_norm']:.3f}, mixed groups {metrics['groups_mixed_share']:.0%}, clip "
        f"{list(settings.clip_interval)} -> {out}"
    )
    return metrics


def state_beside(weights: Path | None) -> Path | None:
    """The optimiser state that was written with these weights, if it is there."""
    state = weights.parent / STATE if weights else None
    return state if state and state.exists() else None
