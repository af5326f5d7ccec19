import pytest

from fst_cli.data.records import Sampling
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.measure.evaluate import evaluate, summarise
from fst_cli.tasks import math

SAMPLING = Sampling(temperature=0.6, top_p=0.95, max_tokens=20)


@pytest.fixture(scope="module")
def problems():
    return list(math.problems(math.MathOptions(difficulty=1), "test", 6, 0))


def run(mini, problems, prompt, samples=3):
    return evaluate(mini, TransformersEngine(mini), problems, prompt, samples, SAMPLING, 0, "base")


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
