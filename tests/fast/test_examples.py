from fst_cli.data.records import Message, Problem, Rollout, Sampling, Score
from fst_cli.fast.examples import harvest

QUESTION = Message(role="user", content="1+1?")
RIGHT = Score(reward=1, success=True, feedback="")
TURNS = [Message(role="assistant", content="add"), QUESTION, Message(role="assistant", content="2")]


def pair(id_, **changes):
    problem = Problem(id=id_, task="math", split="train", messages=[QUESTION], answer="2")
    rollout = Rollout(
        id=id_, group_id=id_, problem_id=id_, prompt_id="p", sample=0, seed=0, text="2", finish_reason="stop",
        prompt_tokens=1, completion_tokens=1, score=RIGHT, policy="x", template="x", sampling=Sampling(),
    )  # fmt: skip
    return problem, rollout.model_copy(update=changes)


def test_a_rollout_with_a_tools_turns_is_no_worked_example():
    assert [example.problem_id for example in harvest([pair("a"), pair("b", turns=TURNS)])] == ["a"]
    wrong = RIGHT.model_copy(update={"success": False})
    assert not harvest([pair("a", score=wrong)])
