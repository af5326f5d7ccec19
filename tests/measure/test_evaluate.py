import pytest

from fst_cli.data.records import Sampling
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.measure.evaluate import evaluate, paired_difference, summarise
from fst_cli.tasks import math

SAMPLING = Sampling(temperature=0.6, top_p=0.95, max_tokens=20)


@pytest.fixture(scope="module")
def problems():
    return list(math.problems(math.MathOptions(difficulty=1), "test", 6, 0))


def run(mini, problems, prompt, samples=3):
    return evaluate(mini, TransformersEngine(mini), problems, [prompt], samples, SAMPLING, 0, "base")


def test_one_record_a_problem_with_every_sample(mini, problems):
    found = run(mini, problems, make_prompt(math.SEED_PROMPT))
    assert [e.problem_id for e in found] == [p.id for p in problems]
    assert all(len(e.rewards) == len(e.successes) == 3 and e.weights == "base" for e in found)
    assert found == run(mini, problems, make_prompt(math.SEED_PROMPT))


def test_a_problem_has_the_same_draws_whatever_else_is_evaluated(mini, problems):
    prompt = make_prompt("")
    assert run(mini, problems, prompt)[4].rewards == run(mini, problems[4:], prompt)[0].rewards


def test_the_summary_is_the_mean_over_problems_of_the_mean_over_samples(mini, problems):
    found = run(mini, problems, make_prompt(""))
    changed = [e.model_copy(update={"rewards": [i / 10] * 3, "successes": [i > 2, False, False], "truncated": 1})
               for i, e in enumerate(found)]  # fmt: skip
    summary = summarise(changed)
    assert summary["reward_mean@3"]["mean"] == pytest.approx(0.25)
    assert summary["success_mean@3"]["mean"] == pytest.approx(3 / 6 / 3)
    assert summary["truncated_share"] == pytest.approx(1 / 3)
    # Three of six problems with one success in three samples: a pair holds it in two of three pairs.
    assert summary["pass@2"]["mean"] == pytest.approx(3 / 6 * 2 / 3)
    assert summary["pass@3"]["mean"] == pytest.approx(3 / 6)
    assert summary["pass^2"]["mean"] == summary["pass^3"]["mean"] == 0


def test_a_mixture_shares_its_samples_among_the_prompts_and_repeats_their_draws(mini, problems):
    prompts = [make_prompt(math.SEED_PROMPT), make_prompt("")]
    mixed = evaluate(mini, TransformersEngine(mini), problems, prompts, 4, SAMPLING, 0, "base")
    alone = [run(mini, problems, prompt, 2) for prompt in prompts]
    for both, one, other in zip(mixed, *alone, strict=True):
        assert both.rewards == one.rewards + other.rewards
        assert both.prompt_id == f"{prompts[0].id}+{prompts[1].id}"


def test_a_paired_difference_is_narrower_than_two_intervals(mini, problems):
    """Problems of very different difficulty, each a little better on one side."""
    found = run(mini, problems, make_prompt(""))
    theirs = [
        e.model_copy(update={"successes": [True] * (i % 3) + [False] * (4 - i % 3)}) for i, e in enumerate(found * 5)
    ]
    theirs = [e.model_copy(update={"problem_id": str(i)}) for i, e in enumerate(theirs)]
    ours = [e.model_copy(update={"successes": [True, *e.successes[:-1]]}) for e in theirs]
    paired = paired_difference(ours, theirs)
    assert (paired.mean, paired.low, paired.high) == (0.25, 0.25, 0.25)
    single = summarise(theirs)["success_mean@3"]
    assert single["high"] - single["low"] > 0.1
    assert paired_difference(theirs, ours).mean == -0.25


def test_a_shaped_reward_is_no_success(mini, problems):
    found = [
        e.model_copy(update={"rewards": [0.9] * 3, "successes": [False] * 3})
        for e in run(mini, problems, make_prompt(""))
    ]
    summary = summarise(found)
    assert summary["reward_mean@3"]["mean"] == pytest.approx(0.9)
    assert summary["success_mean@3"]["mean"] == summary["pass@3"]["mean"] == 0


def test_one_sample_a_problem_has_wilsons_interval(mini, problems):
    found = [
        e.model_copy(update={"rewards": [0.0], "successes": [False]}) for e in run(mini, problems, make_prompt(""), 1)
    ]
    assert summarise(found)["success_mean@1"]["high"] > 0.3
    assert "pass@1" not in summarise(found)
