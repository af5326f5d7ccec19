import json

import pytest

from fst_cli.data.errors import DataError
from fst_cli.tasks import choice
from fst_cli.tasks.choice import ChoiceOptions
from fst_cli.tasks.dataset import dataset_problems


def draw(tmp_path, rows, split="train", count=1, **options):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    make = dataset_problems("choice", choice.read_row)
    key = "test_data" if split == "test" else "data"
    return list(make(ChoiceOptions(**{key: str(path)}, **options), split, count, 0))


SCIKNOW = {
    "question": "q",
    "choices": {"text": ["a", "b", "c", "d"], "label": ["A", "B", "C", "D"]},
    "answerKey": "C",
    "domain": "Physics",
}
GPQA = {
    "Question": "q",
    "Correct Answer": " c\n",
    "Incorrect Answer 1": "a",
    "Incorrect Answer 2": "b",
    "Incorrect Answer 3": "d",
}
BY_TEXT = {"question": "q", "options": ["a", "b", "c", "d"], "answer": "c"}
BY_PLACE = {"question": "q", "choices": ["a", "b", "c", "d"], "answer": 2}


@pytest.mark.parametrize("row", [SCIKNOW, GPQA, BY_TEXT, BY_PLACE])
def test_every_form_of_a_row_gives_the_question_with_its_right_option(tmp_path, row):
    (problem,) = draw(tmp_path, [row], "test")
    right = problem.meta["options"]["ABCD".index(problem.answer)]
    assert right == "c" and sorted(problem.meta["options"]) == ["a", "b", "c", "d"]
    assert f"{problem.answer}. c" in problem.messages[0].content


def test_the_order_of_the_options_hangs_on_seed_and_question_and_favours_no_letter(tmp_path):
    rows = [{**BY_TEXT, "question": f"q{i}"} for i in range(400)]
    letters = [problem.answer for problem in draw(tmp_path, rows, "test", 400)]
    assert all(70 < letters.count(letter) < 130 for letter in "ABCD")
    others = [problem.answer for problem in draw(tmp_path, rows, "test", 400, shuffle_seed=1)]
    assert letters != others and letters == [problem.answer for problem in draw(tmp_path, rows, "test", 400)]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "choices": ["a", "b"], "answer": "z"},
        {"question": "q", "choices": "a", "answer": "a"},
        {"question": "q"},
    ],
)
def test_a_row_without_a_right_option_is_told(tmp_path, row):
    with pytest.raises(DataError, match=r"rows.jsonl:1"):
        draw(tmp_path, [row], "test")


def test_open_questions_and_other_domains_are_left_out(tmp_path):
    rows = [
        {**SCIKNOW, "question": "open", "choices": {"text": [], "label": []}},
        {**SCIKNOW, "question": "bio", "domain": "Biology"},
        SCIKNOW,
    ]
    (problem,) = draw(tmp_path, rows, "test", domain="physics")
    assert problem.messages[0].content.startswith("q\n")


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ("<answer>{right}</answer>", None),
        ("<ANSWER>({right}).</ANSWER>", None),
        ("<answer>A</answer><answer>{right}</answer>", None),
        ("<answer>{wrong}</answer>", "wrong_option"),
        ("<answer>A or B</answer>", "wrong_format"),
        ("<answer>E</answer>", "wrong_format"),
        ("<answer>{lower}</answer>", "wrong_format"),
        ("<answer>АВС</answer>", "wrong_format"),  # Cyrillic
        ("{right}", "no_answer"),
        ("<think><answer>{right}</answer></think>", "no_answer"),
    ],
)
def test_only_the_last_tags_with_one_letter_of_an_option_count(tmp_path, reply, failure):
    (problem,) = draw(tmp_path, [SCIKNOW], "test")
    wrong = "B" if problem.answer == "A" else "A"
    found = choice.score(problem, reply.format(right=problem.answer, wrong=wrong, lower=problem.answer.lower()))
    assert found.failure == failure and found.reward == float(failure is None)
    assert problem.meta["options"]["ABCD".index(wrong)] != "c"
