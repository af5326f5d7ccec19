import pytest

pytest.importorskip("reasoning_gym", reason="needs reasoning-gym: pip install 'fst-cli[gym]'")

from fst_cli.data.errors import UsageError
from fst_cli.tasks.gym import gym_names, score
from fst_cli.tasks.registry import get_task, task_options
from tests.grading import levels


@pytest.fixture(autouse=True)
def isolated():
    levels.need_isolation()


def draw(name, count=1, split="train", seed=0, **options):
    task = get_task(f"gym:{name}")
    return list(task.problems(task_options(task, options), split, count, seed))


def test_neighbouring_seeds_share_no_more_than_chance():
    """reasoning-gym's own path_star shares 499 of 500 items between seeds 0 and 1 (PITFALLS 10)."""
    one, other = ({p.messages[0].content for p in draw("path_star", 100, seed=seed)} for seed in (0, 1))
    assert len(one) == 100 and not one & other


def test_a_part_of_the_score_is_no_reward_unless_wanted():
    problem = draw("chain_sum", config={"min_terms": 3})[0]
    wrong = f"<answer>{problem.answer}0</answer>"  # which reasoning-gym gives a part of its score
    found = score(problem, wrong)
    assert (found.reward, found.success) == (0.0, False) and "it scores 0." in found.feedback
    partial = problem.model_copy(update={"meta": problem.meta | {"partial": True}})
    assert 0 < score(partial, wrong).reward < 1 and not score(partial, wrong).success


def test_answers_are_graded_by_the_data_set_itself():
    problem = draw("countdown")[0]  # any expression of the right value is right
    assert score(problem, f"<answer>{problem.answer} + 0 * 1</answer>").failure == "wrong_answer"
    assert score(problem, f"<answer> ({problem.answer}) </answer>").success


@pytest.mark.parametrize(
    "answer",
    [
        "__import__('os')._exit(0)",
        "exec('raise SystemExit')",
        "(lambda: 1)()",
        "9**9**9**9",
        pytest.param("x**(9**(9**9))", marks=pytest.mark.slow),
    ],
)
def test_an_answer_that_is_code_or_hangs_scores_zero_and_the_next_is_graded(answer):
    problem = draw("simple_integration")[0]
    assert score(problem, f"<answer>{answer}</answer>").reward == 0
    assert score(problem, f"<answer>{problem.answer}</answer>").success


def test_an_item_that_another_version_makes_differently_is_an_error_not_a_zero():
    problem = draw("chain_sum")[0]
    changed = problem.model_copy(update={"meta": problem.meta | {"seed": 1}})
    assert score(changed, "<answer>x</answer>").status == "error"


def test_a_data_set_that_refuses_its_own_answers_is_told():
    with pytest.raises(UsageError, match="gave no train problem"):
        draw("propositional_logic")


def test_a_data_set_whose_grader_takes_anything_is_refused():
    with pytest.raises(UsageError, match="takes 'no such answer' for a right answer"):
        draw("game_of_life_halting", 10)


@pytest.mark.parametrize("config", [{"nonsense": 1}, {"min_terms": -5}])
def test_a_bad_setting_of_the_data_set_is_told(config):
    with pytest.raises(UsageError, match="config"):
        draw("chain_sum", config=config)


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        get_task("gym:chain_summ")
    assert "`chain_sum`" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("name", gym_names())
def test_every_data_set_gives_problems_whose_own_answers_score_one(name):
    try:
        problems = draw(name, 3)
    except UsageError as error:
        pytest.skip(f"no usable problems: {error}")
    for problem in problems:
        assert score(problem, f"<answer>{problem.answer}</answer>").success
        assert not score(problem, "<answer>no such answer</answer>").success
