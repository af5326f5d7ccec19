"""The loss against computations written out here, in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.slow.advantages import EPSILON, advantages
from fst_cli.slow.losses import cispo, kl_k3, token_weights

floats = st.floats(-3, 0, allow_nan=False)


@given(st.lists(st.tuples(floats, floats, st.floats(-2, 2)), min_size=1, max_size=8))
def test_cispo_and_its_gradient_by_hand(rows):
    logp, behaviour, advantage = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    logp.requires_grad_()
    loss = cispo(logp, behaviour, advantage, (0.0, 4.0))
    loss.sum().backward()
    for i, (lp, b, a) in enumerate(rows):
        ratio = min(max(math.exp(lp - b), 0.0), 4.0)
        assert loss[i].item() == pytest.approx(-ratio * a * lp, rel=1e-12, abs=1e-15)
        assert logp.grad[i].item() == pytest.approx(-ratio * a, rel=1e-12, abs=1e-15)


def test_the_ratio_carries_no_gradient_but_the_log_probability_does():
    """PITFALLS 4: without the log π factor the loss would be constant; with a live ratio it would be PPO."""
    logp = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    behaviour, advantage = torch.tensor([-1.3]).double(), torch.tensor([2.0]).double()
    (gradient,) = torch.autograd.grad(cispo(logp, behaviour, advantage, (0.0, 4.0)).sum(), logp)
    ratio, h = math.exp(0.3), 1e-6
    fixed = [-ratio * 2.0 * (-1.0 + d) for d in (h, -h)]
    assert gradient.item() == pytest.approx((fixed[0] - fixed[1]) / (2 * h), rel=1e-6) != 0


@pytest.mark.parametrize(("interval", "ratio"), [((0.0, 4.0), 4.0), ((0.0, 8.0), math.e**2), ((0.5, 1.5), 1.5)])
def test_the_interval_is_the_clamp_itself(interval, ratio):
    loss = cispo(torch.tensor([-1.0]), torch.tensor([-3.0]), torch.tensor([1.0]), interval)
    assert loss.item() == pytest.approx(ratio, rel=1e-6)


def test_k3_is_unbiased_for_the_kl_and_never_negative():
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    k3 = kl_k3(p.log(), q.log())
    assert (k3 >= 0).all()
    assert (p * k3).sum().item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-12)


def test_tokens_weigh_alike_within_a_problem_and_problems_weigh_alike():
    lengths, groups = [3, 1, 10, 2], [0, 0, 1, 1]
    weights = token_weights(lengths, groups)
    assert weights == [1 / 8, 1 / 8, 1 / 24, 1 / 24]
    assert sum(w * n for w, n in zip(weights, lengths, strict=True)) == pytest.approx(1.0)


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=4, max_size=12))
def test_advantages_are_centred_and_scaled_by_the_population_std_of_the_group(rewards):
    rewards = np.array(rewards[: len(rewards) // 2 * 2])
    groups = np.arange(len(rewards)) % 2
    found = advantages(rewards, groups)
    bare = advantages(rewards, groups, "none")
    for group in (0, 1):
        r = rewards[groups == group]
        np.testing.assert_allclose(
            found[groups == group], (r - r.mean()) / (np.sqrt(np.mean((r - r.mean()) ** 2)) + EPSILON)
        )
        np.testing.assert_allclose(bare[groups == group], r - r.mean())


def test_a_group_of_equal_rewards_has_no_advantage():
    assert not advantages(np.array([1.0, 1.0, 0.0, 0.0]), np.array([0, 0, 1, 1])).any()
