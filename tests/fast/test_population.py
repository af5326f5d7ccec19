from hypothesis import given
from hypothesis import strategies as st

from fst_cli.data.records import Example
from fst_cli.fast.population import coverage, from_candidate, frontier, make_prompt, scored, select, to_candidate


def pool_of(*rows):
    return [
        scored(make_prompt(f"prompt {i}"), {f"p{j}": float(score) for j, score in enumerate(row)})
        for i, row in enumerate(rows)
    ]


def texts(prompts):
    return [prompt.instruction.removeprefix("prompt ") for prompt in prompts]


pools = (
    st.integers(1, 4)
    .flatmap(
        lambda width: st.lists(
            st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=width, max_size=width), min_size=1, max_size=6
        )
    )
    .map(lambda rows: pool_of(*rows))
)


def test_coverage_counts_problems_on_which_no_prompt_is_better():
    pool = pool_of([1, 0, 0], [1, 1, 0], [0, 0, 0])
    assert list(coverage(pool).values()) == [2, 3, 1]


def test_the_frontier_is_what_nothing_dominates_the_older_of_equals():
    assert texts(frontier(pool_of([1, 0], [0, 1], [0, 0], [1, 0]))) == ["0", "1"]


@given(pools)
def test_the_frontier_holds_a_best_prompt_for_every_problem(pool):
    front = frontier(pool)
    for problem in pool[0].scores:
        assert max(p.scores[problem] for p in front) == max(p.scores[problem] for p in pool)


@given(pools, st.integers(1, 8))
def test_selection_gives_k_prompts_frontier_first_and_fills_with_the_best(pool, k):
    chosen = select(pool, k)
    assert [prompt.rank for prompt in chosen] == list(range(k))
    front = {prompt.id for prompt in frontier(pool)}
    real = [prompt for prompt in chosen if prompt.origin != "fill"]
    assert len(real) == min(k, len(pool)) and len({prompt.id for prompt in real}) == len(real)
    member = [prompt.id in front for prompt in real]
    assert member == sorted(member, reverse=True) and sum(member) == min(k, len(front))
    assert all(prompt.id == chosen[0].id for prompt in chosen if prompt.origin == "fill")


def test_selection_ranks_by_coverage_then_mean():
    pool = pool_of([1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1])
    assert texts(select(pool, 3))[0] == "1"


@given(st.text(), st.lists(st.tuples(st.text(), st.text()), max_size=3))
def test_a_prompt_survives_as_a_candidate(instruction, pairs):
    examples = [Example(question=q, reply=r, problem_id=str(i)) for i, (q, r) in enumerate(pairs)]
    prompt = make_prompt(instruction, examples)
    back = from_candidate(to_candidate(prompt))
    assert (back.id, back.instruction, back.examples) == (prompt.id, instruction, examples)


def test_the_id_is_of_what_the_policy_sees():
    example = Example(question="q", reply="r", problem_id="1")
    assert make_prompt("a", [example]).id == make_prompt("a", [example.model_copy(update={"problem_id": "2"})]).id
    assert len({make_prompt("a").id, make_prompt("b").id, make_prompt("a", [example]).id}) == 3
