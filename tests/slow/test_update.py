from dataclasses import replace

import numpy as np
import pytest
import torch

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import DataError, UsageError
from fst_cli.data.files import sha256
from fst_cli.data.records import Rollout, Sampling
from fst_cli.engines.base import Request
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.policy.logprobs import TokenSequence, completion_logprobs
from fst_cli.policy.model import load_policy
from fst_cli.slow.groups import load_batch
from fst_cli.slow.losses import KL_ESTIMATORS, LOSSES
from fst_cli.slow.settings import TrainSettings
from fst_cli.slow.update import _checkpoint_layers
from fst_cli.stages.train import train_stage


def by_hand(path, settings, temperature=1.0):
    """Loss and gradient of all weights, one rollout at a time, in float64, by the settings' equations."""
    policy = load_policy("mini")
    model = policy.model.double().requires_grad_(True)
    rollouts, rows = list(jsonl.read(path, Rollout)), tensors.read(tensors.beside(path))
    logps, rewards = [], np.array([rollout.score.reward for rollout in rollouts])
    for row in rows:
        ids = torch.tensor([row.prompt_ids + row.completion_ids])
        logp_TV = torch.log_softmax(model(input_ids=ids).logits[0] / temperature, -1)[len(row.prompt_ids) - 1 : -1]
        logps.append(logp_TV.gather(1, torch.tensor(row.completion_ids)[:, None])[:, 0])
    groups = [[j for j, r in enumerate(rollouts) if r.problem_id == rollout.problem_id] for rollout in rollouts]
    lengths = [len(row.completion_ids) for row in rows]
    low, high = settings.clip_interval or (None, None)
    loss = torch.zeros((), dtype=torch.float64)
    for i, (logp_T, row, group) in enumerate(zip(logps, rows, groups, strict=True)):
        advantage = rewards[i] - rewards[group].mean()
        if settings.advantage_norm == "group-std":
            advantage /= rewards[group].std() + 1e-6
        sampled_T = torch.tensor(row.logprobs).double()
        old_T = logp_T.detach() if settings.tis else sampled_T
        ratio_T = (logp_T - old_T).exp()
        if settings.loss == "gspo":
            ratio_T = (logp_T - old_T).mean().exp().expand(lengths[i])
        if settings.loss == "cispo":
            loss_T = -ratio_T.detach().clamp(low, high) * advantage * logp_T
        elif settings.loss == "reinforce":
            loss_T = -advantage * logp_T
        else:
            loss_T = -torch.min(ratio_T * advantage, ratio_T.clamp(low, high) * advantage)
        if settings.tis:
            loss_T = loss_T * (logp_T.detach() - sampled_T).exp().clamp(max=settings.tis)
        weight = {
            "problem": 1 / (4 * sum(lengths[j] for j in group)),
            "token": 1 / sum(lengths),
            "sequence": 1 / (len(rows) * lengths[i]),
            "constant": 1 / (len(rows) * rollouts[i].sampling.max_tokens),
        }[settings.aggregation]
        loss = loss + weight * loss_T.sum()
    loss.backward()
    return loss.item(), torch.sqrt(sum((p.grad**2).sum() for p in model.parameters())).item()


@pytest.mark.parametrize(
    ("loss", "tis"), [(loss, tis) for loss in LOSSES for tis in (None, 1.5) if not (loss == "cispo" and tis)]
)
def test_every_loss_and_its_gradient_equal_a_float64_computation(step, off_policy, tmp_path, loss, tis):
    metrics, _ = step(off_policy, tmp_path, method="full", loss=loss, tis=tis)
    expected, norm = by_hand(off_policy, TrainSettings(loss=loss, tis=tis))
    assert metrics["loss"] == pytest.approx(expected, abs=1e-5)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4) and norm > 0


@pytest.fixture(scope="module")
def off_policy(written, tmp_path_factory):
    """Rollouts whose recorded log-probabilities are off, as if older weights had sampled them."""
    target = tmp_path_factory.mktemp("off-policy") / "rollouts.jsonl"
    rng = np.random.default_rng(0)
    rows = tensors.read(tensors.beside(written))
    moved = [replace(row, logprobs=(row.logprobs + 0.5 * rng.standard_normal(len(row.logprobs))).astype(np.float32)) for row in rows]  # fmt: skip
    tensors.write(tensors.beside(target), moved)
    jsonl.write(target, list(jsonl.read(written, Rollout)))
    return target


def test_off_policy_the_mismatch_and_the_share_clipped_are_reported(step, off_policy, tmp_path):
    metrics, _ = step(off_policy, tmp_path, loss="grpo")
    ratios = metrics["ratio_quantiles"]
    assert ratios[0] < 0.8 and ratios[-1] > 1.2 and 0.3 < metrics["clipped_share"] < 0.9
    assert metrics["truncated_share"] is None
    assert metrics["mismatch_kl"] == pytest.approx(0.14, abs=0.07)  # E[exp(x) - 1 - x], x ~ N(0, 1/4)


@pytest.mark.parametrize("micro_tokens", [1, 700, 100_000])
def test_loss_and_gradient_equal_a_float64_computation_whatever_the_micro_batches(
    step, written, tmp_path, micro_tokens
):
    metrics, _ = step(written, tmp_path, method="full", micro_tokens=micro_tokens)
    loss, norm = by_hand(written, TrainSettings())
    assert metrics["loss"] == pytest.approx(loss, abs=1e-5)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4) and norm > 0


def test_on_policy_the_ratio_is_one_and_is_reported(step, written, tmp_path):
    metrics, _ = step(written, tmp_path)
    assert metrics["ratio_quantiles"] == pytest.approx([1.0] * 5, abs=1e-4)
    assert metrics["mismatch_kl"] == pytest.approx(0, abs=1e-7) and metrics["clipped_share"] == 0
    assert metrics["clip_interval"] == [0.0, 4.0] and metrics["groups"] == 4


def test_what_is_clipped_is_the_losss_own_ratio_and_tis_reports_its_own_share(step, off_policy, tmp_path):
    by_sequence, _ = step(off_policy, tmp_path / "0", loss="gspo", clip_interval=(0.5, 2.0))
    assert (
        by_sequence["clipped_share"]
        == 0
        < step(off_policy, tmp_path / "1", clip_interval=(0.5, 2.0))[0]["clipped_share"]
    )
    truncated, _ = step(off_policy, tmp_path / "2", loss="grpo", tis=1.2)
    assert truncated["clipped_share"] == 0 < truncated["truncated_share"] < 0.6
    plain, _ = step(off_policy, tmp_path / "3", loss="reinforce", tis=1.2)
    assert plain["clipped_share"] is None and plain["truncated_share"] == truncated["truncated_share"]


def test_a_step_raises_the_probability_of_what_was_rewarded(step, written, tmp_path):
    _, policy = step(written, tmp_path, warmup_steps=0)
    change = {0.0: 0.0, 1.0: 0.0}
    for rollout, row in zip(jsonl.read(written, Rollout), tensors.read(tensors.beside(written)), strict=True):
        with torch.no_grad():
            logp, _ = completion_logprobs(policy.model, [TokenSequence(row.prompt_ids, row.completion_ids)], 1.0)
        change[rollout.score.reward] += float(logp.sum()) - float(row.logprobs.sum())
    assert change[1.0] > change[0.0]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_three_steps_equal_two_and_a_fresh_process_for_the_third(step, make_settings, written, tmp_path, method):
    """Weights and optimiser state come back from disk byte for byte (PITFALLS 16)."""
    policy = load_policy("mini")
    settings, state = make_settings(method=method, kl_coefficient=1e-3), None
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


def test_the_rate_warms_up_by_the_updates_made(step, written, tmp_path):
    first, _ = step(written, tmp_path / "0")
    second, _ = step(written, tmp_path / "1", tmp_path / "0" / "weights")
    assert (first["learning_rate"], second["learning_rate"]) == (0.5e-2, 1e-2)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_penalty_is_the_kl_to_the_base_model(step, written, tmp_path, method):
    first, _ = step(written, tmp_path / "0", method=method, kl_coefficient=0.1)
    second, _ = step(written, tmp_path / "1", tmp_path / "0" / "weights", method=method, kl_coefficient=0.1)
    assert first["kl_to_base"] == pytest.approx(0, abs=1e-7) and second["kl_to_base"] > 1e-5


def with_rewards(path, target, rewards):
    rollouts = list(jsonl.read(path, Rollout))
    changed = [r.model_copy(update={"score": r.score.model_copy(update={"reward": x})}) for r, x in zip(rollouts, rewards, strict=True)]  # fmt: skip
    tensors.write(tensors.beside(target), tensors.read(tensors.beside(path)))
    jsonl.write(target, changed)
    return target


def test_zero_variance_groups_are_reported_and_dropping_them_reweights_the_rest(step, written, tmp_path):
    path = with_rewards(written, tmp_path / "r.jsonl", [1.0, 0.0, 0.0, 0.0] + [0.0] * 8 + [1.0] * 4)
    kept, _ = step(path, tmp_path / "keep")
    dropped, _ = step(path, tmp_path / "drop", zero_variance="drop")
    shares = {name: kept[name] for name in ("groups_mixed_share", "groups_all_zero_share", "groups_all_best_share")}
    assert shares == {"groups_mixed_share": 0.25, "groups_all_zero_share": 0.5, "groups_all_best_share": 0.25}
    assert dropped["grad_norm"] == pytest.approx(4 * kept["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("zero_variance", ["keep", "drop"])
def test_a_step_without_any_signal_changes_nothing_but_still_counts(step, written, tmp_path, zero_variance):
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


def test_optimiser_state_of_other_weights_is_a_data_error(step, make_settings, written, tmp_path):
    step(written, tmp_path / "full", method="full")
    step(written, tmp_path / "lora")
    with pytest.raises(DataError, match="not the optimiser state"):
        train_stage(
            lambda: load_policy("mini", tmp_path / "lora" / "weights"), written, tmp_path / "x", settings=make_settings(),
            seed=0, state=tmp_path / "full" / "optimizer.safetensors",
        )  # fmt: skip
    assert not (tmp_path / "x" / "train.json").exists()


def test_full_tuning_of_an_adapter_is_refused(step, written, tmp_path):
    step(written, tmp_path / "0")
    with pytest.raises(UsageError):
        step(written, tmp_path / "1", tmp_path / "0" / "weights", method="full")


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_a_penalty_in_the_reward_lowers_it_by_the_rollouts_kl(step, written, tmp_path, estimator):
    step(written, tmp_path / "0")
    weights = tmp_path / "0" / "weights"
    kl = {"kl_coefficient": 10.0, "kl_estimator": estimator, "kl_in": "reward", "advantage_norm": "none"}
    metrics, _ = step(written, tmp_path / "1", weights, **kl)
    base = load_policy("mini").model
    sums, rollouts = [], list(jsonl.read(written, Rollout))
    for row in tensors.read(tensors.beside(written)):
        with torch.no_grad():
            reference_N, _ = completion_logprobs(base, [TokenSequence(row.prompt_ids, row.completion_ids)], 1.0)
        sums.append(float(KL_ESTIMATORS[estimator](torch.tensor(row.logprobs), reference_N).sum()))
    changed = with_rewards(
        written, tmp_path / "r.jsonl", [r.score.reward - 10.0 * kl for r, kl in zip(rollouts, sums, strict=True)]
    )
    without, _ = step(changed, tmp_path / "2", weights, advantage_norm="none")
    assert metrics["grad_norm"] == pytest.approx(without["grad_norm"], rel=1e-3)
    assert metrics["kl_to_base"] == pytest.approx(sum(sums) / metrics["trained_tokens"], abs=1e-6)


def test_checkpointing_changes_the_memory_and_neither_the_gradient_nor_the_sampling_after_it(step, written, tmp_path):
    request = Request(tensors.read(tensors.beside(written))[0].prompt_ids, 0)
    found = []
    for number in range(2):
        metrics, policy = step(written, tmp_path / str(number), method="full", gradient_checkpointing=bool(number))
        (completion,) = TransformersEngine(policy).generate([request], Sampling(max_tokens=20))
        found.append((metrics["grad_norm"], completion.ids))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) and found[0][1] == found[1][1]


def test_checkpointed_layers_are_computed_again_and_stay_without_dropout(fresh_mini):
    calls = []
    layers = fresh_mini.model.get_decoder().layers
    fresh_mini.model.requires_grad_(True)
    _checkpoint_layers(fresh_mini.model)
    layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(layers[0].mlp.training))
    logp_N, _ = completion_logprobs(fresh_mini.model, [TokenSequence([5, 6, 7], [8, 9])], 1.0)
    logp_N.sum().backward()
    assert calls == [False, False]


def test_bfloat16_computes_near_the_float32_gradient_and_keeps_float32_weights(step, written, tmp_path):
    exact, _ = step(written, tmp_path / "32", method="full", learning_rate=1e-6)
    narrow, policy = step(written, tmp_path / "16", method="full", learning_rate=1e-6, dtype="bfloat16")
    assert (
        narrow["grad_norm"] == pytest.approx(exact["grad_norm"], rel=0.05) and narrow["grad_norm"] != exact["grad_norm"]
    )
    before = dict(load_policy("mini").model.named_parameters())
    moved = [not torch.equal(p, before[name]) for name, p in policy.model.named_parameters()]
    assert all(moved) and all(p.dtype == torch.float32 for p in policy.model.parameters())


def test_float32_logits_bring_bfloat16_nearer_to_the_sampler(step, written, tmp_path):
    kls = [
        step(written, tmp_path / str(f), dtype="bfloat16", float32_logits=f)[0]["mismatch_kl"] for f in (True, False)
    ]
    assert 0 < kls[0] < kls[1]


def test_the_micro_batches_are_chosen_by_the_machine_and_told(step, written, tmp_path, capfd):
    metrics, _ = step(written, tmp_path, micro_tokens=0)
    assert metrics["micro_tokens"] == 8192 and metrics["micro_batches"] == 1
    assert "1 micro-batches of at most 8192 tokens" in capfd.readouterr().err
    lengths = [len(r.prompt_ids) + len(r.completion_ids) - 1 for r in tensors.read(tensors.beside(written))]
    assert metrics["tokens"] == sum(lengths) > 2 * metrics["computed_tokens"]
