from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.measure.passes import pass_at_k, pass_hat_k, powers_up_to


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_both_equal_the_enumeration_of_all_subsets(successes, data):
    k = data.draw(st.integers(1, len(successes)))
    subsets = list(combinations(successes, k))
    n, c = len(successes), sum(successes)
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
    assert pass_hat_k(n, c, k) == pytest.approx(sum(map(all, subsets)) / len(subsets))


@pytest.mark.parametrize(
    ("n", "ks"), [(1, []), (2, [2]), (3, [2, 3]), (4, [2, 4]), (6, [2, 4, 6]), (16, [2, 4, 8, 16])]
)
def test_the_reported_k_are_powers_of_two_and_all_samples(n, ks):
    assert powers_up_to(n) == ks
