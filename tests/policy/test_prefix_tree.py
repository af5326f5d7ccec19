from hypothesis import example, given
from hypothesis import strategies as st

from fst_cli.policy.prefix_tree import prefix_tree, tree_batches

# Few different tokens and short sequences, so that prefixes of all lengths are shared.
sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=10)


@given(sequences, st.integers(1, 4))
def test_each_sequence_is_a_path_from_a_root_and_every_token_lies_at_its_depth(found, min_shared):
    tree = prefix_tree(found, min_shared)
    for sequence, row in zip(found, tree.rows, strict=True):
        assert [tree.ids[i] for i in row] == sequence
        assert [tree.positions[i] for i in row] == list(range(len(sequence)))
        nodes = [number for number, node in enumerate(tree.nodes) if set(range(node.start, node.end)) & set(row)]
        assert nodes == [*tree.nodes[nodes[-1]].path, nodes[-1]]
    assert len(tree) <= sum(map(len, found))


@given(sequences, st.integers(1, 4))
def test_descendants_follow_their_node_in_the_layout(found, min_shared):
    tree = prefix_tree(found, min_shared)
    for number, node in enumerate(tree.nodes):
        below = [other for other in tree.nodes if number in other.path]
        assert sum(len(other) for other in below) == node.last - node.end
        assert all(node.end <= other.start and other.end <= node.last for other in below)


@given(sequences, st.integers(1, 4))
def test_families_hold_every_node_once_with_one_path_and_about_one_length(found, min_shared):
    tree = prefix_tree(found, min_shared)
    families = tree.families()
    assert sorted(number for family in families for number in family) == list(range(len(tree.nodes)))
    for family in families:
        assert len({tuple(tree.nodes[number].path) for number in family}) == 1
        lengths = [len(tree.nodes[number]) for number in family]
        assert max(lengths) < 2 * min(lengths)


def test_a_prompt_population_is_computed_once_a_prompt_and_once_a_problem():
    prompts, problems = [[k] * 100 for k in (1, 2)], [[k] * 30 for k in (3, 4, 5)]
    found = [
        [*prompt, *problem, 10 + i, *range(20, 29)] for prompt in prompts for problem in problems for i in range(4)
    ]
    tree = prefix_tree(found)
    assert len(tree) == 2 * 100 + 6 * 30 + 24 * 10
    assert len(prefix_tree([*found, *found])) == len(tree)  # equal sequences are one


def test_a_short_common_prefix_is_not_worth_a_node():
    assert len(prefix_tree([[1] * 9 + [2], [1] * 9 + [3]], min_shared=10).nodes) == 2
    assert len(prefix_tree([[1] * 9 + [2], [1] * 9 + [3]], min_shared=9).nodes) == 3


@given(sequences, st.integers(1, 40), st.integers(1, 4))
@example([[0] * 6, [0, 0, 0, 1, *[0] * 6], [0, 0, 1, *[0] * 6], [0, 1, *[0] * 5]], 27, 1)  # 28 tokens, not 27
def test_batches_hold_every_sequence_once_and_stay_within_the_limit(found, limit, at_least):
    batches = tree_batches(found, limit, at_least, min_shared=2)
    assert sorted(row for batch in batches for row in batch) == list(range(len(found)))
    for batch in batches:
        assert len(batch) == 1 or len(prefix_tree([found[row] for row in batch], 2)) <= limit


def test_batches_are_as_many_as_there_are_processes_and_equally_large():
    found = [[prompt] * 50 + [i] * 20 for prompt in (1, 2, 3, 4) for i in range(10, 18)]
    assert len(tree_batches(found, 100_000)) == 1
    sizes = [len(prefix_tree([found[row] for row in batch])) for batch in tree_batches(found, 100_000, at_least=4)]
    assert sizes == [50 + 8 * 20] * 4
