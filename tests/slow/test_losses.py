"""The losses against computations written out here, in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.slow.losses import (
    KL_ESTIMATORS,
    LOSSES,
    Tokens,
    cispo,
    kl_k1,
    kl_k2,
    kl_k3,
    token_weights,
    truncated_importance,
)

floats = st.floats(-3, 0, allow_nan=False)


def tokens(rows):
    """Tokens of (log π, log π_old, A, rollout), float64, log π with a gradient."""
    logp, old, advantage, rollout = zip(*rows, strict=True)
    made = [torch.tensor(column, dtype=torch.float64) for column in (logp, old, advantage)]
    made[0].requires_grad_()
    return Tokens(*made, torch.tensor(rollout))


def closed_form(name, rows, clip):
    """Loss and gradient with respect to log π, token by token."""
    found = []
    for lp, old, a, rollout in rows:
        ratio = math.exp(lp - old)
        if name == "reinforce":
            found.append((-a * lp, -a))
        elif name == "cispo":
            clipped = min(max(ratio, clip[0]), clip[1])
            found.append((-clipped * a * lp, -clipped * a))
        else:
            if name == "gspo":
                differences = [r[0] - r[1] for r in rows if r[3] == rollout]
                ratio = math.exp(sum(differences) / len(differences))
            clipped = min(max(ratio, clip[0]), clip[1])
            found.append((-min(ratio * a, clipped * a), -ratio * a if ratio * a <= clipped * a else 0.0))
    return found


# Rollout 0 has the first half of the tokens, rollout 1 the rest; a rollout has one advantage.
batches = st.tuples(
    st.lists(st.tuples(floats, floats), min_size=1, max_size=4),
    st.lists(st.tuples(floats, floats), min_size=1, max_size=4),
    st.floats(-2, 2),
    st.floats(-2, 2),
).map(lambda b: [(*pair, b[2], 0) for pair in b[0]] + [(*pair, b[3], 1) for pair in b[1]])


@pytest.mark.parametrize("name", list(LOSSES))
@given(batches)
def test_loss_and_gradient_have_their_closed_form(name, rows):
    clip = LOSSES[name].clip_interval
    made = tokens(rows)
    loss_N = LOSSES[name].function(made, clip)
    (gradient_N,) = torch.autograd.grad(loss_N.sum(), made.logp_N)
    expected = closed_form(name, rows, clip)
    near_an_edge = clip and any(
        abs(math.exp(lp - old) - edge) < 1e-9 for lp, old, *_ in rows for edge in clip
    )  # where min() may take either side
    for i in range(len(rows)):
        assert loss_N[i].item() == pytest.approx(expected[i][0], rel=1e-9, abs=1e-12)
        if name != "gspo" and not near_an_edge:
            assert gradient_N[i].item() == pytest.approx(expected[i][1], rel=1e-9, abs=1e-12)
    if name == "gspo" and not near_an_edge:  # d s/d log π_t = s / length: a rollout's tokens share its gradient
        for rollout in (0, 1):
            of = [i for i, row in enumerate(rows) if row[3] == rollout]
            assert gradient_N[of].sum().item() == pytest.approx(expected[of[0]][1] * len(of), rel=1e-9, abs=1e-12)


def test_the_ratio_carries_no_gradient_but_the_log_probability_does():
    """PITFALLS 4: without the log π factor the loss would be constant; with a live ratio it would be PPO."""
    made = tokens([(-1.0, -1.3, 2.0, 0)])
    (gradient,) = torch.autograd.grad(cispo(made, (0.0, 4.0)).sum(), made.logp_N)
    ratio, h = math.exp(0.3), 1e-6
    fixed = [-ratio * 2.0 * (-1.0 + d) for d in (h, -h)]
    assert gradient.item() == pytest.approx((fixed[0] - fixed[1]) / (2 * h), rel=1e-6) != 0


@pytest.mark.parametrize(("interval", "ratio"), [((0.0, 4.0), 4.0), ((0.0, 8.0), math.e**2), ((0.5, 1.5), 1.5)])
def test_the_interval_is_the_clamp_itself(interval, ratio):
    assert cispo(tokens([(-1.0, -3.0, 1.0, 0)]), interval).item() == pytest.approx(ratio, rel=1e-6)


def test_the_importance_weight_is_truncated_from_above_only_and_carries_no_gradient():
    logp = torch.tensor([-1.0, -1.0, -3.0], dtype=torch.float64, requires_grad=True)
    weight = truncated_importance(logp, torch.tensor([-1.5, -3.0, -1.0]).double(), 2.0)
    assert weight.tolist() == pytest.approx([math.exp(0.5), 2.0, math.exp(-2.0)])
    assert not weight.requires_grad


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
@given(floats, floats)
def test_kl_estimates_have_their_closed_form(name, logp, reference):
    d = logp - reference
    expected = {"k1": d, "k2": d * d / 2, "k3": math.exp(-d) - 1 + d}[name]
    found = KL_ESTIMATORS[name](torch.tensor(logp).double(), torch.tensor(reference).double())
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


P, Q = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]], dtype=torch.float64)
KL = (P * (P / Q).log()).sum().item()


def test_k1_and_k3_are_unbiased_for_the_kl_and_k3_is_never_negative():
    assert (P * kl_k1(P.log(), Q.log())).sum().item() == pytest.approx(KL, rel=1e-12)
    assert (P * kl_k3(P.log(), Q.log())).sum().item() == pytest.approx(KL, rel=1e-12)
    assert (kl_k3(P.log(), Q.log()) >= 0).all()


def test_as_a_loss_on_samples_k1_has_no_gradient_and_k2_that_of_the_kl():
    scores = P.log().requires_grad_()

    def sampled(estimator):
        logp = torch.log_softmax(scores, 0)
        return torch.autograd.grad((P * estimator(logp, Q.log())).sum(), scores)[0]

    logp = torch.log_softmax(scores, 0)
    (true,) = torch.autograd.grad((logp.exp() * (logp - Q.log())).sum(), scores)
    assert sampled(kl_k1).abs().max() < 1e-12
    torch.testing.assert_close(sampled(kl_k2), true, atol=1e-12, rtol=0)


LENGTHS, GROUPS = [3, 1, 10, 2], [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("problem", [1 / 8, 1 / 8, 1 / 24, 1 / 24]),
        ("token", [1 / 16] * 4),
        ("sequence", [1 / 12, 1 / 4, 1 / 40, 1 / 8]),
        ("constant", [1 / 80] * 4),
    ],
)
def test_tokens_are_aggregated_by_problem_token_sequence_or_constant(aggregation, expected):
    weights = token_weights(LENGTHS, GROUPS, aggregation, max_tokens=20)
    assert weights == pytest.approx(expected)
    if aggregation != "constant":
        assert sum(w * n for w, n in zip(weights, LENGTHS, strict=True)) == pytest.approx(1.0)
