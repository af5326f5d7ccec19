import numpy as np
import pytest

from fst_cli.measure.scaling import Fit, Refusal, fit_sigmoid

X = np.arange(0, 37, 3.0)
PLANTED = {"asymptote": 0.85, "midpoint": 8.0, "exponent": 1.8}


def planted(noise, seed=0):
    """R₀ = 0.06 and PLANTED, with normal noise on all but R₀."""
    y = 0.06 + (0.85 - 0.06) / (1 + (8.0 / np.maximum(X, 1e-9)) ** 1.8)
    return y + np.random.default_rng(seed).normal(0, noise, len(X)) * (X > 0)


def test_the_planted_parameters_are_found():
    fit = fit_sigmoid(X, planted(0))
    assert isinstance(fit, Fit)
    for name, value in PLANTED.items():
        assert getattr(fit, name) == pytest.approx(value, rel=1e-3)
    assert fit.start == pytest.approx(0.06)
    assert fit.predict(X) == pytest.approx(planted(0), abs=1e-4)


def test_the_intervals_cover_the_truth_about_as_often_as_they_say():
    fits = [fit_sigmoid(X, planted(0.02, seed), seed) for seed in range(20)]
    for name, value in PLANTED.items():
        hits = sum(fit.intervals[name][0] <= value <= fit.intervals[name][1] for fit in fits)
        assert hits >= 16, name  # of 20; 60 of them covered 90, 93 and 93 % when this was written


def test_the_order_of_the_points_and_a_second_run_change_nothing():
    y, order = planted(0.02), np.random.default_rng(1).permutation(len(X))
    assert fit_sigmoid(X, y) == fit_sigmoid(X, y) == fit_sigmoid(X[order], y[order])


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        (X[:5], planted(0)[:5], "too few"),
        (X, 0.1 + np.random.default_rng(0).normal(0, 0.02, len(X)), "does not rise above its noise"),
        (X, 0.5 - X / 100, "does not rise above its noise"),
        (X, 0.02 * X / 3, "has not bent yet"),
        (X[:7], planted(0.06, 1)[:7], "the asymptote is anywhere in"),
    ],
)
def test_points_that_support_no_fit_are_refused_with_the_reason(x, y, reason):
    found = fit_sigmoid(x, y)
    assert isinstance(found, Refusal), found
    assert reason in found.reason
