"""Training on rollouts in which a tool spoke: only what the model sampled counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import DataError
from fst_cli.data.records import Rollout, Sampling, Score
from fst_cli.engines.collect import collect, group_slots
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.policy.chat import render
from fst_cli.policy.model import load_policy
from fst_cli.slow.distributed import World
from fst_cli.slow.groups import load_batch
from fst_cli.slow.policy_gradient import PolicyGradient
from fst_cli.slow.settings import TrainSettings
from fst_cli.slow.update import prepare
from fst_cli.stages.train import Teacher

SAMPLING = Sampling(max_tokens=120)
TEACHER = make_prompt("Answer with one number.")


@pytest.fixture(scope="module")
def rollouts(mini, calculator, tmp_path_factory):
    """4 problems, 3 samples, half of them with tool turns; log-probabilities off, as if older weights had sampled."""
    found = collect(mini, TransformersEngine(mini), group_slots(calculator, [make_prompt("")], 3), SAMPLING, (0,), "")
    rewarded = [
        rollout.model_copy(update={"score": Score(reward=float(i % 3 == 0), success=i % 3 == 0, feedback="")})
        for i, rollout in enumerate(found.rollouts)
    ]
    rng = np.random.default_rng(0)
    noise = [0.5 * rng.standard_normal(len(row.logprobs)) for row in found.tokens]
    rows = [
        replace(row, logprobs=(row.logprobs + part * row.sampled).astype(np.float32))
        for row, part in zip(found.tokens, noise, strict=True)
    ]
    path = tmp_path_factory.mktemp("turns") / "rollouts.jsonl"
    tensors.write(tensors.beside(path), rows)
    jsonl.write(path, rewarded)
    assert sum(not row.sampled.all() for row in rows) >= 4
    return path


def rewritten(source, target, change):
    """The same rollouts, the log-probabilities of each row changed."""
    rows = [replace(row, logprobs=np.asarray(change(row), np.float32)) for row in tensors.read(tensors.beside(source))]
    tensors.write(tensors.beside(target), rows)
    jsonl.write(target, list(jsonl.read(source, Rollout)))
    return target


def logp_TV(model, prompt_ids, completion_ids):
    logits_TV = model(input_ids=torch.tensor([prompt_ids + completion_ids])).logits[0]
    return torch.log_softmax(logits_TV[len(prompt_ids) - 1 : -1], -1)


def of_tokens(logp_TV, row):
    return logp_TV.gather(1, torch.tensor(row.completion_ids)[:, None])[:, 0]


def weight_of(settings, rows, groups, i):
    """The weight of a token of rollout i, by the aggregation's definition over the mask."""
    counts = [int(row.sampled.sum()) for row in rows]
    of_group = sum(count for count, group in zip(counts, groups, strict=True) if group == groups[i])
    return {
        "problem": 1 / (len(set(groups)) * of_group),
        "token": 1 / sum(counts),
        "sequence": 1 / (len(rows) * counts[i]),
        "constant": 1 / (len(rows) * SAMPLING.max_tokens),
    }[settings.aggregation]


def gradients(loss, model):
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    return loss.item(), found, torch.sqrt(sum((grad**2).sum() for grad in found.values())).item()


def by_hand(path, settings):
    """Loss, gradients and their norm in float64, one whole rollout at a time, every token's loss times its mask."""
    model = load_policy("mini").model.double().requires_grad_(True)
    found, rows = list(jsonl.read(path, Rollout)), tensors.read(tensors.beside(path))
    groups, rewards = [one.problem_id for one in found], np.array([one.score.reward for one in found])
    low, high = settings.clip_interval
    loss = torch.zeros((), dtype=torch.float64)
    for i, row in enumerate(rows):
        mask_T, old_T = torch.tensor(row.sampled).double(), torch.tensor(row.logprobs).double()
        group = rewards[[one == groups[i] for one in groups]]
        advantage = rewards[i] - group.mean()
        advantage /= group.std() + 1e-6 if settings.advantage_norm == "group-std" else 1
        logp_T = of_tokens(logp_TV(model, row.prompt_ids, row.completion_ids), row)
        log_ratio_T = (logp_T - old_T) * mask_T
        if settings.loss == "cispo":
            loss_T = -log_ratio_T.exp().detach().clamp(low, high) * advantage * logp_T
        else:
            mean = log_ratio_T.sum() / mask_T.sum()
            ratio_T = mean.exp().expand(len(mask_T)) if settings.loss == "gspo" else log_ratio_T.exp()
            loss_T = -torch.min(ratio_T * advantage, ratio_T.clamp(low, high) * advantage)
        loss = loss + weight_of(settings, rows, groups, i) * (loss_T * mask_T).sum()
    return gradients(loss, model)


@pytest.mark.parametrize("name", ["cispo", "grpo", "dapo", "dr-grpo", "gspo"])
def test_loss_and_gradient_equal_a_float64_computation_with_a_mask(step, rollouts, tmp_path, name):
    metrics, _ = step(rollouts, tmp_path, method="full", loss=name, micro_tokens=200)
    loss, _, norm = by_hand(rollouts, TrainSettings(loss=name))
    assert metrics["micro_batches"] > 1
    assert metrics["loss"] == pytest.approx(loss, abs=1e-5)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4) and norm > 0
    rows = tensors.read(tensors.beside(rollouts))
    assert metrics["trained_tokens"] == sum(row.sampled.sum() for row in rows)


def test_every_weights_gradient_is_that_of_the_masked_loss(rollouts, make_settings):
    policy, batch = load_policy("mini"), load_batch(rollouts)
    policy.model.requires_grad_(True)
    settings = make_settings(method="full")
    objective = PolicyGradient(policy, batch, settings, prepare(policy, batch.sequences, settings, World()))
    objective.part(list(range(len(batch.rollouts)))).loss.backward()
    _, expected, _ = by_hand(rollouts, TrainSettings())
    for name, parameter in policy.model.named_parameters():
        torch.testing.assert_close(parameter.grad.double(), expected[name], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("kl_in", ["loss", "reward"])
def test_what_is_stored_as_a_tool_tokens_logprob_changes_nothing(step, rollouts, tmp_path, kl_in):
    spoilt = rewritten(rollouts, tmp_path / "spoilt.jsonl", lambda row: np.where(row.sampled, row.logprobs, np.nan))
    settings = {"kl_coefficient": 0.1, "kl_in": kl_in}
    plain, other = (step(path, tmp_path / path.stem, **settings)[0] for path in (rollouts, spoilt))
    for name in ("loss", "grad_norm", "policy", "ratio_quantiles", "mismatch_kl", "entropy", "kl_to_base"):
        assert plain[name] == other[name] is not None


def test_a_missing_logprob_of_a_sampled_token_is_still_refused(rollouts, tmp_path):
    spoilt = rewritten(rollouts, tmp_path / "spoilt.jsonl", lambda row: np.where(row.sampled, np.nan, 0))
    with pytest.raises(DataError, match="log-probabilities are missing"):
        load_batch(spoilt)


def test_entropy_and_mismatch_are_means_over_sampled_tokens(step, rollouts, tmp_path, mini):
    metrics, _ = step(rollouts, tmp_path)
    differences, entropies = [], []
    for row in tensors.read(tensors.beside(rollouts)):
        with torch.no_grad():
            found_TV = logp_TV(mini.model, row.prompt_ids, row.completion_ids).double()
        differences.append((of_tokens(found_TV, row).numpy() - row.logprobs)[row.sampled])
        entropies.append(-(found_TV.exp() * found_TV).sum(-1).numpy()[row.sampled])
    difference_N = np.concatenate(differences)
    assert metrics["mismatch_kl"] == pytest.approx((np.expm1(difference_N) - difference_N).mean(), rel=1e-3)
    assert metrics["entropy"] == pytest.approx(np.concatenate(entropies).mean(), rel=1e-4)
    assert metrics["ratio_quantiles"][0] == pytest.approx(np.exp(difference_N.min()), rel=1e-3)


def test_a_penalty_in_the_reward_is_told_per_sampled_token(step, rollouts, tmp_path, mini):
    metrics, _ = step(rollouts, tmp_path, kl_coefficient=0.1, kl_in="reward", kl_estimator="k1")
    differences = []
    for row in tensors.read(tensors.beside(rollouts)):
        with torch.no_grad():
            base_T = of_tokens(logp_TV(mini.model, row.prompt_ids, row.completion_ids), row).numpy()
        differences.append((row.logprobs - base_T)[row.sampled])
    assert metrics["kl_to_base"] == pytest.approx(np.concatenate(differences).mean(), rel=1e-3)


def test_distillation_follows_the_teacher_at_sampled_tokens_only(step, rollouts, calculator, tmp_path):
    jsonl.write(tmp_path / "problems.jsonl", calculator)
    jsonl.write(tmp_path / "prompts.jsonl", [TEACHER])
    teacher = Teacher(tmp_path / "problems.jsonl", tmp_path / "prompts.jsonl")
    metrics, _ = step(rollouts, tmp_path / "out", method="full", loss="distill", kl_coefficient=None, teacher=teacher)

    policy, frozen = load_policy("mini"), load_policy("mini").model.double()
    model = policy.model.double().requires_grad_(True)
    found, rows = list(jsonl.read(rollouts, Rollout)), tensors.read(tensors.beside(rollouts))
    groups, by_id = [one.problem_id for one in found], {problem.id: problem for problem in calculator}
    loss = torch.zeros((), dtype=torch.float64)
    for i, (rollout, row) in enumerate(zip(found, rows, strict=True)):
        under = render(policy.tokenizer, TEACHER, by_id[rollout.problem_id], policy.context)
        p_TV = logp_TV(model, row.prompt_ids, row.completion_ids)
        with torch.no_grad():
            q_TV = logp_TV(frozen, under, row.completion_ids)
        kl_T = (p_TV.exp() * (p_TV - q_TV)).sum(-1) * torch.tensor(row.sampled).double()
        loss = loss + weight_of(TrainSettings(loss="distill"), rows, groups, i) * kl_T.sum()
    expected, _, norm = gradients(loss, model)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-4)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)
