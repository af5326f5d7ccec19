from hypothesis import given
from hypothesis import strategies as st

from fst_cli.data.seeds import derive

parts = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4)


def test_seeds_are_the_same_in_every_process_and_release():
    assert derive(0, "rollout", 1, 2, "p", "φ", 3) == 4184170132327711406


@given(parts, parts)
def test_different_addresses_have_different_seeds(left, right):
    assert (derive(*left) == derive(*right)) == (left == right)


def test_type_and_order_matter():
    assert len({derive(1, 2), derive(2, 1), derive("1", 2), derive("12"), derive("1", "2")}) == 5
