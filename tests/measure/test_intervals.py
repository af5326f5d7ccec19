import numpy as np
import pytest

from fst_cli.measure.intervals import bootstrap_mean, over_seeds, wilson


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = sum(e.low <= 0.3 <= e.high for e in (bootstrap_mean(rng.random(80) < 0.3, seed=i) for i in range(300)))
    assert 0.90 <= hits / 300 <= 0.98


@pytest.mark.parametrize("truth", [0.02, 0.3, 0.95])
def test_wilsons_interval_covers_the_truth_as_often_as_it_says(truth):
    rng = np.random.default_rng(1)
    hits = sum(e.low <= truth <= e.high for e in (wilson(rng.random(60) < truth) for _ in range(1000)))
    assert 0.92 <= hits / 1000 <= 0.985


def test_wilsons_interval_has_width_where_all_agree():
    assert wilson([False] * 20).high == pytest.approx(0.1611, abs=1e-3)  # 1 - 0.025^(1/20) is 0.168
    assert wilson([True] * 20).low == pytest.approx(0.8389, abs=1e-3)


def test_equal_values_have_no_width_and_the_same_seed_the_same_interval():
    flat = bootstrap_mean([0.25] * 7)
    assert (flat.mean, flat.low, flat.high, flat.n) == (0.25, 0.25, 0.25, 7)
    values = np.linspace(0, 1, 30)
    assert bootstrap_mean(values, 1) == bootstrap_mean(values, 1) != bootstrap_mean(values, 2)
    assert bootstrap_mean(values).mean == pytest.approx(0.5)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_students_interval_covers_the_truth_with_few_seeds(seeds):
    rng = np.random.default_rng(2)
    found = [over_seeds(rng.normal(0.5, 0.1, seeds)) for _ in range(1000)]
    assert 0.93 <= sum(e.low <= 0.5 <= e.high for e in found) / 1000 <= 0.97


def test_one_seed_has_no_interval_and_says_so():
    one = over_seeds([0.5])
    assert (one.low, one.high) == (None, None) and str(one) == "0.500 (one seed)"
    assert str(over_seeds([0.4, 0.5, 0.6])) == "0.500 [0.252, 0.748], 3 seeds"
