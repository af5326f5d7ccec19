import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fst_cli.data.errors import UsageError
from fst_cli.tasks import stargraph
from fst_cli.tasks.registry import get_task, task_options
from fst_cli.tasks.stargraph import StarGraphOptions


def draw(split="train", count=1, seed=0, **shape):
    return list(stargraph.problems(StarGraphOptions(**shape), split, count, seed))


@st.composite
def shapes(draw_):
    d, p = draw_(st.integers(1, 8)), draw_(st.integers(2, 6))
    decoy = draw_(st.sampled_from(["p-1", "p"]))
    needed = p + (d - 1) * (p - 1 if decoy == "p-1" else p)
    return {"d": d, "p": p, "n": needed + draw_(st.integers(3, 60)), "decoy": decoy}


def branches(problem):
    """The branches that leave the source, by walking the edges."""
    following = {}
    for u, v in stargraph.edges_of(problem):
        following.setdefault(u, []).append(v)
    source = int(problem.answer.split(",")[0])
    walks = []
    for neighbor in following[source]:
        walk = [neighbor]
        while walk[-1] in following:
            assert len(following[walk[-1]]) == 1
            walk.append(following[walk[-1]][0])
        walks.append(walk)
    return source, walks


@settings(max_examples=60, deadline=None)
@given(shapes(), st.sampled_from(["train", "test"]), st.integers(0, 10**6))
def test_every_graph_is_the_star_that_the_paper_describes(shape, split, seed):
    problem = draw(split, 1, seed, **shape)[0]
    edges = stargraph.edges_of(problem)
    decoy = shape["p"] - 1 if shape["decoy"] == "p-1" else shape["p"]
    nodes = {node for edge in edges for node in edge}
    assert len(nodes) == shape["p"] + (shape["d"] - 1) * decoy
    assert len(edges) == len(set(edges)) == len(nodes) - 1
    assert nodes <= set(range(shape["n"]))
    source, walks = branches(problem)
    gold = [int(node) for node in problem.answer.split(",")]
    assert len(walks) == shape["d"] and gold[1:] in walks and len(gold) == shape["p"]
    assert sorted(len(walk) for walk in walks if walk != gold[1:]) == [decoy] * (shape["d"] - 1)
    assert f"The source node is {source}\nThe destination node is {gold[-1]}\n" in problem.messages[0].content


def test_the_paper_shape_has_476_nodes_and_475_edges():
    edges = stargraph.edges_of(draw()[0])
    assert (len({node for edge in edges for node in edge}), len(edges)) == (476, 475)
    assert len({node for edge in stargraph.edges_of(draw(decoy="p")[0]) for node in edge}) == 500


def test_the_question_is_verbatim():
    lines = draw(d=2, p=2, n=20)[0].messages[0].content.splitlines()
    assert lines[0] == (
        "Given a bi-directional graph in the form of space separated edges, output a path from source node to the "
        "destination node in the form of comma separated integers."
    )
    assert lines[-1] == "Please reason step by step, and put your final answer within \\boxed{}."


def test_edges_are_shuffled_and_the_gold_branch_has_no_fixed_place():
    places = {
        stargraph.edges_of(p).index(tuple(map(int, p.answer.split(",")[:2]))) for p in draw(count=40, d=4, p=3, n=50)
    }
    assert len(places) > 5


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1), (5, 0)])
def test_train_and_test_never_share_a_gold_path(seeds):
    train = {p.answer for p in draw("train", 500, seeds[0], d=2, p=2, n=40)}
    test = {p.answer for p in draw("test", 200, seeds[1], d=2, p=2, n=40)}
    assert len(train) == 500 and len(test) == 200 and not train & test


def test_the_same_seed_gives_the_same_graphs_and_another_seed_others():
    assert draw(count=5, seed=3) == draw(count=5, seed=3)
    assert not {p.answer for p in draw(count=5, seed=3)} & {p.answer for p in draw(count=5, seed=4)}


def test_more_problems_begin_with_the_fewer():
    assert draw(count=9, d=3, p=3, n=30)[:4] == draw(count=4, d=3, p=3, n=30)


def test_an_exhausted_space_is_a_usage_error():
    with pytest.raises(UsageError, match="distinct test problems"):
        draw("test", 1000, d=1, p=2, n=5)


def test_a_pool_that_is_too_small_is_a_usage_error():
    with pytest.raises(UsageError, match="476 nodes, more than the pool"):
        task_options(get_task("stargraph"), {"d": 25, "p": 20, "n": 475})


def score(problem, text):
    return stargraph.score(problem, text)


@pytest.fixture
def graph():
    return draw(d=3, p=4, n=40)[0]


def test_the_gold_path_in_the_last_box_is_right(graph):
    spaced = graph.answer.replace(",", ", ")
    assert score(graph, f"first \\boxed{{1,2}} then \\boxed{{ {spaced} }}").success
    assert score(graph, f"<think>\\boxed{{9}}</think> \\boxed{{{graph.answer}}}").reward == 1.0
    assert not score(graph, f"<think>\\boxed{{{graph.answer}}}</think> nothing").success
    assert not score(graph, f"\\boxed{{{graph.answer}}} or \\boxed{{0}}").success


def test_the_worked_solution_is_right(graph):
    assert score(graph, stargraph.worked_solution(graph)).success


def test_feedback_says_where_the_path_went_wrong(graph):
    gold = graph.answer.split(",")
    source, walks = branches(graph)
    wrong = next(walk for walk in walks if str(walk[-1]) != gold[-1])
    unknown = next(str(n) for n in range(40) if str(n) not in gold)
    for box, said in {
        "": "comma separated integers",
        "a,b": "comma separated integers",
        f"{unknown},{gold[1]}": f"starts at {unknown}, not at the source {source}",
        f"{gold[0]},{gold[-1]}": f"uses {gold[0]},{gold[-1]}, which is not an edge",
        ",".join(map(str, [source, *wrong])): f"ends at {wrong[-1]}, not at the destination",
        ",".join([gold[0], gold[1], gold[0], *gold[1:]]): "not written as the gold path",
    }.items():
        found = score(graph, f"\\boxed{{{box}}}")
        assert not found.success and said in found.feedback, box
    assert score(graph, graph.answer).failure == "no_box"


def test_ten_thousand_paper_graphs_are_made_in_time():
    """A bound on hanging, far above the benchmark's figure (tests/bench/generate.py)."""
    started = time.perf_counter()
    assert len(draw("train", 1000)) == 1000
    assert time.perf_counter() - started < 20
