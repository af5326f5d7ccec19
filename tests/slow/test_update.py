from pathlib import Path

import numpy as np
import pytest
import torch

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import DataError, UsageError
from fst_cli.data.files import sha256
from fst_cli.data.records import Rollout, Sampling, Score
from fst_cli.engines.collect import collect, group_slots
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.policy.model import load_policy
from fst_cli.slow.groups import load_batch
from fst_cli.slow.settings import TrainSettings
from fst_cli.stages.train import state_beside, train_stage
from fst_cli.tasks import math

SETTINGS = {
    "method": "lora", "lora_rank": 4, "learning_rate": 1e-2, "warmup_steps": 2, "kl_coefficient": 0.0,
    "max_grad_norm": 1e9, "micro_tokens": 4096,
}  # fmt: skip


@pytest.fixture(scope="module")
def written(mini, tmp_path_factory):
    """Rollouts of the real mini, with rewards by the parity of their length so that groups are mixed."""
    problems = list(math.problems(math.MathOptions(difficulty=1), "train", 4, 0))
    slots = group_slots(problems, [make_prompt(math.SEED_PROMPT), make_prompt("")], 4)
    found = collect(mini, TransformersEngine(mini), slots, Sampling(max_tokens=16), (0,), "")
    path = tmp_path_factory.mktemp("rollouts") / "rollouts.jsonl"
    rollouts = [
        r.model_copy(update={"score": Score(reward=float(i % 3 == 0), success=i % 3 == 0, feedback="")})
        for i, r in enumerate(found.rollouts)
    ]
    tensors.write(tensors.beside(path), found.tokens)
    jsonl.write(path, rollouts)
    return path


def step(rollouts, out, weights=None, **changes):
    policy = load_policy("mini", weights)
    settings = TrainSettings(**SETTINGS | changes)
    state = state_beside(weights)
    return train_stage(lambda: policy, rollouts, Path(out), settings=settings, seed=0, state=state), policy


def by_hand(path, temperature=1.0):
    """Loss and gradient of all weights, one rollout at a time, in float64 (PAPER Eq 3 and 4)."""
    policy = load_policy("mini")
    model = policy.model.double().requires_grad_(True)
    rollouts, rows = list(jsonl.read(path, Rollout)), tensors.read(tensors.beside(path))
    groups: dict = {}
    for rollout, row in zip(rollouts, rows, strict=True):
        groups.setdefault(rollout.problem_id, []).append((rollout.score.reward, row))
    loss = torch.zeros((), dtype=torch.float64)
    for members in groups.values():
        rewards = np.array([reward for reward, _ in members])
        total = sum(len(row.completion_ids) for _, row in members)
        for reward, row in members:
            advantage = (reward - rewards.mean()) / (rewards.std() + 1e-6)
            ids = torch.tensor([row.prompt_ids + row.completion_ids])
            logp_TV = torch.log_softmax(model(input_ids=ids).logits[0] / temperature, -1)[len(row.prompt_ids) - 1 : -1]
            logp_T = logp_TV.gather(1, torch.tensor(row.completion_ids)[:, None])[:, 0]
            ratio_T = (logp_T.detach() - torch.tensor(row.logprobs).double()).exp().clamp(0, 4)
            loss = loss - (ratio_T * advantage * logp_T).sum() / total / len(groups)
    loss.backward()
    return loss.item(), torch.sqrt(sum((p.grad**2).sum() for p in model.parameters())).item()


@pytest.mark.parametrize("micro_tokens", [1, 700, 100_000])
def test_loss_and_gradient_equal_a_float64_computation_whatever_the_micro_batches(written, tmp_path, micro_tokens):
    metrics, _ = step(written, tmp_path, method="full", micro_tokens=micro_tokens)
    loss, norm = by_hand(written)
    assert metrics["loss"] == pytest.approx(loss, abs=1e-5)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4) and norm > 0


def test_on_policy_the_ratio_is_one_and_is_reported(written, tmp_path):
    metrics, _ = step(written, tmp_path)
    assert metrics["ratio_quantiles"] == pytest.approx([1.0] * 5, abs=1e-4)
    assert metrics["mismatch_kl"] == pytest.approx(0, abs=1e-7) and metrics["clipped_share"] == 0
    assert metrics["clip_interval"] == [0.0, 4.0] and metrics["groups"] == 4


def test_a_step_raises_the_probability_of_what_was_rewarded(written, tmp_path):
    _, policy = step(written, tmp_path, warmup_steps=0)
    from fst_cli.policy.logprobs import TokenSequence, completion_logprobs

    change = {0.0: 0.0, 1.0: 0.0}
    for rollout, row in zip(jsonl.read(written, Rollout), tensors.read(tensors.beside(written)), strict=True):
        with torch.no_grad():
            logp, _ = completion_logprobs(policy.model, [TokenSequence(row.prompt_ids, row.completion_ids)], 1.0)
        change[rollout.score.reward] += float(logp.sum()) - float(row.logprobs.sum())
    assert change[1.0] > change[0.0]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_three_steps_equal_two_and_a_fresh_process_for_the_third(written, tmp_path, method):
    """Weights and optimiser state come back from disk byte for byte (PITFALLS 16)."""
    policy = load_policy("mini")
    settings, state = TrainSettings(**SETTINGS | {"method": method, "kl_coefficient": 1e-3}), None
    for number in range(3):
        out = tmp_path / "straight" / str(number)
        train_stage(lambda: policy, written, out, settings=settings, seed=0, state=state)
        state = out / "optimizer.safetensors"
    weights = None
    for number in range(3):
        metrics, _ = step(written, tmp_path / "resumed" / str(number), weights, method=method, kl_coefficient=1e-3)
        weights = tmp_path / "resumed" / str(number) / "weights"
    assert metrics["update"] == 3
    for name in ("optimizer.safetensors", "weights"):
        assert sha256(tmp_path / "straight" / "2" / name) == sha256(tmp_path / "resumed" / "2" / name)


def test_the_rate_warms_up_by_the_updates_made(written, tmp_path):
    first, _ = step(written, tmp_path / "0")
    second, _ = step(written, tmp_path / "1", tmp_path / "0" / "weights")
    assert (first["learning_rate"], second["learning_rate"]) == (0.5e-2, 1e-2)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_penalty_is_the_kl_to_the_base_model(written, tmp_path, method):
    first, _ = step(written, tmp_path / "0", method=method, kl_coefficient=0.1)
    second, _ = step(written, tmp_path / "1", tmp_path / "0" / "weights", method=method, kl_coefficient=0.1)
    assert first["kl_to_base"] == pytest.approx(0, abs=1e-7) and second["kl_to_base"] > 1e-5


def with_rewards(path, target, rewards):
    rollouts = list(jsonl.read(path, Rollout))
    changed = [r.model_copy(update={"score": r.score.model_copy(update={"reward": x})}) for r, x in zip(rollouts, rewards, strict=True)]  # fmt: skip
    tensors.write(tensors.beside(target), tensors.read(tensors.beside(path)))
    jsonl.write(target, changed)
    return target


def test_zero_variance_groups_are_reported_and_dropping_them_reweights_the_rest(written, tmp_path):
    path = with_rewards(written, tmp_path / "r.jsonl", [1.0, 0.0, 0.0, 0.0] + [0.0] * 8 + [1.0] * 4)
    kept, _ = step(path, tmp_path / "keep")
    dropped, _ = step(path, tmp_path / "drop", zero_variance="drop")
    shares = {name: kept[name] for name in ("groups_mixed_share", "groups_all_zero_share", "groups_all_best_share")}
    assert shares == {"groups_mixed_share": 0.25, "groups_all_zero_share": 0.5, "groups_all_best_share": 0.25}
    assert dropped["grad_norm"] == pytest.approx(4 * kept["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("zero_variance", ["keep", "drop"])
def test_a_step_without_any_signal_changes_nothing_but_still_counts(written, tmp_path, zero_variance):
    path = with_rewards(written, tmp_path / "r.jsonl", [0.0] * 16)
    metrics, _ = step(path, tmp_path / "0", zero_variance=zero_variance)
    assert metrics["grad_norm"] == 0 and metrics["update"] == 1
    again, _ = step(written, tmp_path / "1", tmp_path / "0" / "weights")
    assert again["update"] == 2 and again["grad_norm"] > 0


def rewrite(written, target, change):
    rollouts = [change(i, r) for i, r in enumerate(jsonl.read(written, Rollout))]
    tensors.write(tensors.beside(target), tensors.read(tensors.beside(written)))
    jsonl.write(target, [r for r in rollouts if r])
    return target


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda i, r: r if i else None, "has 3 rollouts, another has 4"),
        (lambda i, r: r.model_copy(update={"row": 99}), "row 99 is not in"),
        (lambda i, r: r.model_copy(update={"row": None}), "row None is not in"),
        (lambda i, r: r.model_copy(update={"group_id": str(i)}), "groups of one rollout"),
        (lambda i, r: r.model_copy(update={"sampling": Sampling(top_p=0.9)}), "sampled with"),
        (lambda i, r: r.model_copy(update={"sampling": Sampling(temperature=0.0)}), "sampled with"),
        (lambda i, r: r.model_copy(update={"sampling": Sampling(max_tokens=i + 1)}), "other settings"),
    ],
)
def test_rollouts_that_can_not_be_trained_on_are_a_data_error(written, tmp_path, change, said):
    with pytest.raises(DataError, match=said):
        load_batch(rewrite(written, tmp_path / "r.jsonl", change))


def test_optimiser_state_of_other_weights_is_a_data_error(written, tmp_path):
    step(written, tmp_path / "full", method="full")
    step(written, tmp_path / "lora")
    with pytest.raises(DataError, match="not the optimiser state"):
        train_stage(
            lambda: load_policy("mini", tmp_path / "lora" / "weights"), written, tmp_path / "x", settings=TrainSettings(**SETTINGS),
            seed=0, state=tmp_path / "full" / "optimizer.safetensors",
        )  # fmt: skip
    assert not (tmp_path / "x" / "train.json").exists()


def test_full_tuning_of_an_adapter_is_refused(written, tmp_path):
    step(written, tmp_path / "0")
    with pytest.raises(UsageError):
        step(written, tmp_path / "1", tmp_path / "0" / "weights", method="full")
