import pytest

from fst_cli.data.records import Message, Problem
from fst_cli.fast.overlap import copied


def problem(number, text, answer="7"):
    return Problem(
        id=str(number), task="math", split="train", messages=[Message(role="user", content=text)], answer=answer
    )


FRAME = "Given a bi-directional graph in the form of space separated edges output a path. For this question"
PROBLEMS = [
    problem(0, "What is 12 + 7?", "19"),
    problem(1, f"{FRAME} the graph is 1,2 2,3 3,4 4,5 5,6 and so on.", "1,2,3,4"),
    problem(2, f"{FRAME} the graph is 9,8 8,7 7,6 6,5 5,4 and so on.", "9,8,7,6"),
]


@pytest.mark.parametrize(
    ("instruction", "taken"),
    [
        ("Add carefully.", None),
        ("For example: what is 12 + 7? It is easy.", "what is 12 7"),
        ("WHAT IS 12+7", "what is 12 7"),
        (f"You are {FRAME} the task.", None),  # the wording of the task, which all its problems share
        ("Say: the graph is 1,2 2,3 3,4 4,5 5,6 and go.", "the graph is 1 2 2 3 3"),
        ("Answer 1,2,3,4 always.", "1,2,3,4"),
        ("Use 19 words.", None),  # too short to tell an answer from an ordinary number
    ],
)
def test_what_is_a_problems_own_may_not_be_copied(instruction, taken):
    assert copied(instruction, "Be good.", PROBLEMS, PROBLEMS) == taken


def test_what_the_parent_said_already_is_not_new():
    text = "For example: what is 12 + 7? Answer 1,2,3,4."
    assert copied(f"{text} More.", text, PROBLEMS, PROBLEMS) is None
