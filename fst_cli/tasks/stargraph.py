"""Star graphs: find the one branch from the source that ends at the destination (PAPER section 4).

(d, p, n): `d` branches leave the source, the gold path has `p` nodes, source and destination included, and node
names are drawn from {0..n-1}. The defaults (25, 20, 500) give 476 nodes and 475 edges.

Train and test are disjoint by construction, whatever their seeds: the gold path alone decides, by its hash,
which split a graph belongs to.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from fst_cli.data.records import Message, Problem, Record, Score
from fst_cli.data.seeds import derive
from fst_cli.grading.answers import last_boxed
from fst_cli.tasks.base import Source, Task
from fst_cli.tasks.splits import Split, split_of, take_unique

SEED_PROMPT = (
    "You are solving a graph path-finding task. You will be given a list of edges and a source and destination node. "
    "Output one valid path from source to destination. Inspect the source node's neighbors first, identify which "
    "neighbor leads to the destination via a sequence of valid edges, then commit to that branch. Each consecutive "
    "pair in your output path must be a valid edge in the graph. Put your final answer comma-separated inside boxed "
    "braces."
)

QUESTION = """\
Given a bi-directional graph in the form of space separated edges, output a path from source node to the destination \
node in the form of comma separated integers.
For this question the graph is {graph}
The source node is {source}
The destination node is {destination}
Please reason step by step, and put your final answer within \\boxed{{}}."""

# What the heuristic reflector may add, by kind of failure; not all of them help, evolution has to find out.
REMEDIES: dict[str, list[str]] = {
    "no_box": [
        "Put the path, comma-separated, inside \\boxed{}.",
        "End with the path inside \\boxed{} and nothing after it.",
        "Be brief.",
    ],
    "wrong_path": [
        "Double-check every edge before you answer.",
        "Trace back from the destination to the source, then reverse the path.",
        "Walk forward from the source, one edge at a time.",
        "Start at the destination and find the edge that leads into it, again and again, until you reach the source.",
        "Read the whole list of edges twice.",
    ],
}


class StarGraphOptions(Record):
    """Shape of the graphs."""

    d: int = Field(default=25, ge=1, description="degree of the source")
    p: int = Field(default=20, ge=2, description="nodes on the gold path, source and destination included")
    n: int = Field(default=500, ge=2, description="size of the node pool")
    decoy: Literal["p-1", "p"] = Field(default="p-1", description="fresh nodes on each decoy branch")

    @property
    def decoy_nodes(self) -> int:
        """Fresh nodes on a decoy branch."""
        return self.p - 1 if self.decoy == "p-1" else self.p

    @model_validator(mode="after")
    def _pool_is_large_enough(self) -> "StarGraphOptions":
        needed = self.p + (self.d - 1) * self.decoy_nodes
        if needed > self.n:
            raise ValueError(f"a graph with d={self.d} p={self.p} has {needed} nodes, more than the pool n={self.n}")
        return self


def problems(options: StarGraphOptions, split: Split, count: int, seed: int) -> Iterator[Problem]:
    """`count` graphs of `split`, no gold path twice."""
    draws = (_draw(options, split, seed, index) for index in range(1_000_000_000))
    return take_unique(draws, count, key=lambda problem: problem.answer)


def _draw(options: StarGraphOptions, split: Split, seed: int, index: int) -> Problem:
    rng = np.random.Generator(
        np.random.Philox(key=derive("stargraph", options.d, options.p, options.n, options.decoy, split, seed, index))
    )
    path = _path(options, split, rng)
    rest = np.setdiff1d(np.arange(options.n), path, assume_unique=True)
    fresh = rest[_order(rng, len(rest))[: (options.d - 1) * options.decoy_nodes]]
    branches = fresh.reshape(options.d - 1, options.decoy_nodes).tolist()
    edges = [f"{u},{v}" for branch in [path[1:], *branches] for u, v in pairwise([path[0], *branch])]
    graph = " ".join(edges[i] for i in _order(rng, len(edges)))
    shape = f"{options.d}-{options.p}-{options.n}"
    return Problem(
        id=f"stargraph-{shape}-{split}-{seed}-{index}",
        task="stargraph",
        split=split,
        messages=[Message(role="user", content=QUESTION.format(graph=graph, source=path[0], destination=path[-1]))],
        answer=",".join(map(str, path)),
    )


def _order(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random order. Sorting uniform draws keeps it the same in every NumPy release."""
    return rng.random(size).argsort(kind="stable")


def _path(options: StarGraphOptions, split: Split, rng: np.random.Generator) -> list[int]:
    while True:
        path = _order(rng, options.n)[: options.p].tolist()
        if split_of("stargraph", *path) == split:
            return path


def score(problem: Problem, text: str) -> Score:
    """1.0 where the last box holds the gold path, else 0.0 and where exactly the path went wrong."""
    box = last_boxed(text)
    if box is None:
        return Score(reward=0.0, success=False, failure="no_box", feedback="There is no \\boxed{} in the reply.")
    answer = "".join(box.split())
    if answer == problem.answer:
        return Score(reward=1.0, success=True, feedback="Correct.")
    return Score(reward=0.0, success=False, failure="wrong_path", feedback=_what_went_wrong(problem, answer))


def _what_went_wrong(problem: Problem, answer: str) -> str:
    try:
        path = [int(node) for node in answer.split(",")]
    except ValueError:
        return "The box does not hold comma separated integers."
    gold = problem.answer.split(",")
    source, destination = int(gold[0]), int(gold[-1])
    edges = {frozenset(edge) for edge in edges_of(problem)}
    if path[0] != source:
        return f"The path starts at {path[0]}, not at the source {source}."
    for u, v in pairwise(path):
        if frozenset((u, v)) not in edges:
            return f"The path uses {u},{v}, which is not an edge of the graph."
    if path[-1] != destination:
        return f"The path ends at {path[-1]}, not at the destination {destination}: a wrong branch at the source."
    return "The path reaches the destination but is not written as the gold path, each node once, in plain integers."


def edges_of(problem: Problem) -> list[tuple[int, int]]:
    """The edges as the question lists them, each written outward from the source."""
    line = next(line for line in problem.messages[-1].content.splitlines() if "the graph is" in line)
    pairs = (pair.split(",") for pair in line.partition("the graph is")[2].split())
    return [(int(u), int(v)) for u, v in pairs]


def worked_solution(problem: Problem) -> str:
    """A reply that traces the path back from the destination, then reverses it."""
    path = [int(node) for node in problem.answer.split(",")]
    back = list(reversed(path))
    steps = ", ".join(f"{node} from {before}" for node, before in pairwise(back))
    return f"Back from {back[0]}: {steps}.\nThe answer is \\boxed{{{problem.answer}}}"


TASK = Task(
    name="stargraph",
    summary="find the path from source to destination in a star graph (procedural)",
    seed_prompt=SEED_PROMPT,
    options=StarGraphOptions,
    problems=problems,
    score=score,
    worked_solution=worked_solution,
    remedies=REMEDIES,
    source=Source("procedural", "unlimited", "ours (Apache-2.0)"),
)
