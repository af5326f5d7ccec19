from collections import Counter

import pytest

from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Score
from fst_cli.engines.collect import collect, group_slots
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.tasks import math
from fst_cli.tasks.base import Task


@pytest.fixture(scope="module")
def problems():
    return list(math.problems(math.MathOptions(difficulty=1), "train", 3, 0))


def test_each_prompt_gets_its_share_of_a_group(problems):
    prompts = [make_prompt("A."), make_prompt("B."), make_prompt("A.")]
    slots = group_slots(problems, prompts, 6)
    shares = Counter((slot.problem.id, slot.prompt.instruction) for slot in slots)
    assert shares == {(p.id, text): n for p in problems for text, n in (("A.", 4), ("B.", 2))}
    assert len({(s.problem.id, s.prompt.id, s.sample) for s in slots}) == len(slots)


def test_a_population_that_does_not_divide_the_group_is_refused(problems):
    with pytest.raises(UsageError, match="group size 8 is not a multiple"):
        group_slots(problems, [make_prompt(str(i)) for i in range(3)], 8)


def test_samples_differ_between_cycles_and_steps_and_repeat_at_the_same_address(mini, problems, sampling):
    slots = group_slots(problems, [make_prompt("")], 4)

    def texts(*address):
        found = collect(mini, TransformersEngine(mini), slots, sampling, address, "")
        return [rollout.text for rollout in found.rollouts]

    assert texts(0, "rollout", 0, 0) == texts(0, "rollout", 0, 0)
    assert len({tuple(texts(0, "rollout", c, s)) for c in range(2) for s in range(2)}) == 4


def test_records_hold_what_training_and_reading_need(mini, problems, sampling):
    slots = group_slots(problems, [make_prompt("Be brief.")], 2)
    found = collect(mini, TransformersEngine(mini), slots, sampling, (0,), "")
    for slot, rollout, tokens in zip(slots, found.rollouts, found.tokens, strict=True):
        assert rollout.group_id == slot.problem.id and rollout.policy == mini.hash
        assert mini.tokenizer.decode(tokens.completion_ids, skip_special_tokens=True) == rollout.text
        assert (len(tokens.prompt_ids), len(tokens.completion_ids)) == (
            rollout.prompt_tokens,
            rollout.completion_tokens,
        )
        assert mini.tokenizer.decode(tokens.prompt_ids).startswith("<|system|>Be brief.<|end|>")


def test_a_grader_that_fails_fails_the_stage(mini, problems, sampling, monkeypatch):
    def broken(problem, text):
        return Score(reward=0.0, success=False, feedback="", failure="ungraded", status="error")

    task = Task(**{**vars(math.TASK), "score": broken})
    monkeypatch.setattr("fst_cli.engines.collect.get_task", lambda name: task)
    slots = group_slots(problems, [make_prompt("")], 2)
    with pytest.raises(RunError, match="6 of 6 completions could not be graded"):
        collect(mini, TransformersEngine(mini), slots, sampling, (0,), "")
