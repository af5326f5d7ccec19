"""Token sequences as a tree of shared prefixes, so that each distinct prefix is computed once.

In FST every rollout is [prompt φ][problem][completion]: φ repeats over the problems, the problem over its samples.
The tree is laid out flat, one node after another in depth-first order; a token's position is its depth, and it attends
to its ancestors only (`tree_attention`). Trainer, KL and sampler can all compute on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MIN_SHARED = 16  # tokens; a shorter common prefix costs less computed twice than as a node of its own


@dataclass
class Node:
    """A run of tokens `start`..`end` of the flat layout; its descendants are `end`..`last`."""

    start: int
    end: int
    last: int
    path: list[int]  # its ancestors, from the root down, by number

    def __len__(self) -> int:
        return self.end - self.start


@dataclass
class PrefixTree:
    """A forest over some sequences; `rows[r]` are the flat indices of the tokens of sequence r, in their order."""

    nodes: list[Node] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)

    def __len__(self) -> int:
        """Tokens to compute."""
        return len(self.ids)

    def families(self) -> list[list[int]]:
        """Nodes with the same ancestors and, within a factor of two, the same length: together they pad little."""
        found: dict[tuple[int, int], list[int]] = {}
        for number, node in enumerate(self.nodes):
            parent = node.path[-1] if node.path else -1
            found.setdefault((parent, len(node).bit_length()), []).append(number)
        return list(found.values())


def prefix_tree(sequences: Sequence[list[int]], min_shared: int = MIN_SHARED) -> PrefixTree:
    """The tree of `sequences`; a prefix is shared where at least `min_shared` further tokens agree."""
    tree = PrefixTree(rows=[np.zeros(len(sequence), np.int64) for sequence in sequences])

    def grow(members: list[int], depth: int, path: list[int]) -> None:
        groups: dict[tuple[int, ...], list[int]] = {}
        for row in members:
            if len(sequences[row]) > depth:
                groups.setdefault(tuple(sequences[row][depth : depth + min_shared]), []).append(row)
        for rows in groups.values():
            end = _common([sequences[row] for row in rows])
            start, number = len(tree.ids), len(tree.nodes)
            tree.ids.extend(sequences[rows[0]][depth:end])
            tree.positions.extend(range(depth, end))
            node = Node(start, len(tree.ids), len(tree.ids), path)
            tree.nodes.append(node)
            for row in rows:
                tree.rows[row][depth:end] = np.arange(node.start, node.end)
            grow(rows, end, [*path, number])
            node.last = len(tree.ids)

    grow(list(range(len(sequences))), 0, [])
    return tree


def tree_batches(
    sequences: Sequence[list[int]], max_tokens: int, at_least: int = 1, min_shared: int = MIN_SHARED
) -> list[list[int]]:
    """Indices in batches whose trees have at most `max_tokens` tokens (or hold one sequence), about equally large.

    Sequences with long common prefixes come to lie in one batch. The number of batches is made a multiple of
    `at_least` where there are sequences enough, so that as many processes have equal work.
    """
    order = sorted(range(len(sequences)), key=lambda i: (sequences[i], i))
    shared = [0] * len(order)
    for place in range(1, len(order)):
        common = _common([sequences[order[place - 1]], sequences[order[place]]])
        # Nodes end where other sequences branch off, and what is left after the last one may be too short for a node.
        shared[place] = max(0, common - min_shared + 1)

    def cut(limit: int) -> list[list[int]]:
        batches: list[list[int]] = []
        tokens = 0
        for place, row in enumerate(order):
            new = len(sequences[row]) - shared[place]
            if batches and tokens + new <= limit:
                batches[-1].append(row)
                tokens += new
            else:
                batches.append([row])
                tokens = len(sequences[row])
        return batches

    wanted = -(-len(cut(max_tokens)) // at_least) * at_least
    low, high = 1, max_tokens  # the smallest limit that still gives no more batches than `wanted`
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(cut(middle)) <= wanted else (middle + 1, high)
    return cut(high)


def _common(sequences: list[list[int]]) -> int:
    """Length of the longest common prefix: that of the first and the last in order."""
    first, last = min(sequences), max(sequences)
    differing = (place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differing, min(len(first), len(last)))
