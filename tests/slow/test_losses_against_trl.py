"""Loss and gradient against TRL's own code, where it implements the same loss."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from fst_cli.slow.losses import LOSSES, Tokens, kl_k3, token_weights, truncated_importance

trl = pytest.importorskip("trl", reason="pip install -e '.[test]' brings trl, which this compares with")

LENGTHS, WIDTH = [3, 7, 5, 1, 8, 2], 8


@pytest.fixture
def values():
    """Padded [B, T]: log π, log π_old, log π_ref, log of the sampler; mask; advantages [B]."""
    generator = torch.Generator().manual_seed(0)
    logp, old, reference, sampler = (-3 * torch.rand(6, WIDTH, generator=generator).double() for _ in range(4))
    mask = torch.arange(WIDTH)[None] < torch.tensor(LENGTHS)[:, None]
    advantages = torch.randn(6, generator=generator).double()
    return logp.requires_grad_(), old, reference, sampler, mask, advantages


def trls(values, loss_type, epsilons, *, level="token", beta=0.0, tis=None):
    """TRL's loss; only what surrounds its loss code is stood in for."""
    logp, old, reference, sampler, mask, advantages = values
    accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x)
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (logp, torch.zeros_like(logp), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level=level, beta=beta, loss_type=loss_type, epsilon_low=epsilons[0],
        epsilon_high=epsilons[1], max_completion_length=WIDTH, current_gradient_accumulation_steps=1,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        model=SimpleNamespace(training=True), accelerator=accelerator, use_vllm=tis is not None,
        vllm_importance_sampling_correction=True, _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )  # fmt: skip
    inputs = {
        "prompt_ids": torch.zeros(6, 1).long(), "prompt_mask": torch.ones(6, 1).long(),
        "completion_ids": torch.zeros(6, WIDTH).long(), "completion_mask": mask.long(), "advantages": advantages,
        "old_per_token_logps": old, "ref_per_token_logps": reference, "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    if tis is not None:
        inputs["importance_sampling_ratio"] = (old - sampler).exp().clamp(max=tis)
    return trl.GRPOTrainer._compute_loss(trainer, None, inputs)


def ours(values, name, clip, aggregation, *, beta=0.0, tis=None):
    logp, old, reference, sampler, mask, advantages = values
    rollout_N = torch.arange(6).repeat_interleave(torch.tensor(LENGTHS))
    loss_N = LOSSES[name].function(Tokens(logp[mask], old[mask], advantages[rollout_N], rollout_N), clip)
    if tis is not None:
        loss_N = loss_N * truncated_importance(old[mask], sampler[mask], tis)
    if beta:
        loss_N = loss_N + beta * kl_k3(logp[mask], reference[mask])
    weights = torch.tensor(token_weights(LENGTHS, [0] * 6, aggregation, WIDTH), dtype=torch.float64)
    return (weights[rollout_N] * loss_N).sum()


CASES = [
    ("cispo", (0.0, 4.0), "token", "cispo", (0.0, 4.0), {}),
    ("grpo", (0.8, 1.2), "sequence", "grpo", (0.2, 0.2), {}),
    ("grpo", (0.8, 1.2), "token", "bnpo", (0.2, 0.2), {}),
    ("dapo", (0.8, 1.28), "token", "dapo", (0.2, 0.28), {}),
    ("dr-grpo", (0.8, 1.2), "constant", "dr_grpo", (0.2, 0.2), {}),
    ("gspo", (1 - 3e-4, 1 + 4e-4), "sequence", "grpo", (3e-4, 4e-4), {"level": "sequence"}),
]
CORRECTIONS = [(0.0, None), (0.04, None), (0.0, 2.0)]


@pytest.mark.parametrize(
    ("name", "clip", "aggregation", "theirs", "epsilons", "level", "beta", "tis"),
    [(*case, beta, tis) for case in CASES for beta, tis in CORRECTIONS if not (case[0] == "cispo" and tis)],
)
def test_loss_and_gradient_equal_trls(values, name, clip, aggregation, theirs, epsilons, level, beta, tis):
    found = []
    for loss in (
        ours(values, name, clip, aggregation, beta=beta, tis=tis),
        trls(values, theirs, epsilons, beta=beta, tis=tis, **level),
    ):
        (gradient,) = torch.autograd.grad(loss, values[0])
        found.append((loss, gradient))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-12, rtol=1e-12)
    assert found[0][1].abs().sum() > 0
