import json

import pytest

from fst_cli.data.errors import DataError, UsageError
from fst_cli.data.records import Message
from fst_cli.tasks.dataset import DataOptions, Draft, dataset_problems


def read_row(row, options):
    return Draft(row.text("question"), row.text("answer"))


def write(path, count, start=0):
    rows = ({"question": f"What is {i} + {i}?", "answer": 2 * i} for i in range(start, start + count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def draw(split, count, seed=0, task=None, **options):
    make = task or dataset_problems("sums", read_row)
    return list(make(DataOptions(**options), split, count, seed))


def texts(problems):
    return [problem.messages[0].content for problem in problems]


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1), (3, 3)])
def test_one_file_is_split_by_its_texts(tmp_path, seeds):
    path = write(tmp_path / "a.jsonl", 200)
    train, test = draw("train", 120, seeds[0], data=path), draw("test", 25, seeds[1], data=path)
    assert not set(texts(train)) & set(texts(test))
    assert len(set(texts(train))) == 120


def test_official_splits_are_kept_and_what_is_tested_is_not_trained_on(tmp_path):
    (tmp_path / "d").mkdir()
    write(tmp_path / "d/train.jsonl", 20)
    write(tmp_path / "d/test.jsonl", 10, start=15)  # five questions are in both
    train, test = draw("train", 15, data=str(tmp_path / "d")), draw("test", 10, data=str(tmp_path / "d"))
    assert set(texts(train)) == {f"What is {i} + {i}?" for i in range(15)}
    assert set(texts(test)) == {f"What is {i} + {i}?" for i in range(15, 25)}
    with pytest.raises(DataError, match="holds 15 train problems, 16 asked for"):
        draw("train", 16, data=str(tmp_path / "d"))


def test_test_data_alone_makes_a_task_for_evaluation(tmp_path):
    path = write(tmp_path / "a.jsonl", 5)
    assert len(draw("test", 5, test_data=path)) == 5
    with pytest.raises(UsageError, match="for evaluation"):
        draw("train", 1, test_data=path)


def test_a_longer_stream_begins_as_a_shorter_one_whatever_the_order_of_the_file(tmp_path):
    path = write(tmp_path / "a.jsonl", 100)
    short, long = draw("train", 10, data=path), draw("train", 50, data=path)
    assert texts(long)[:10] == texts(short)
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "b.jsonl").write_text("".join(reversed(lines)))
    assert texts(draw("train", 10, data=str(tmp_path / "b.jsonl"))) == texts(short)
    assert texts(draw("train", 10, seed=1, data=path)) != texts(short)


def test_a_text_that_is_there_twice_is_taken_once(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "1?", "answer": 1}\n' * 3)
    split = "train" if _holds(path, "train") else "test"
    assert len(draw(split, 1, data=str(path))) == 1
    with pytest.raises(DataError, match="holds 1"):
        draw(split, 2, data=str(path))


def _holds(path, split):
    try:
        return draw(split, 1, data=str(path))
    except DataError:
        return []


def test_repeat_goes_round_again_in_another_order_with_ids_of_its_own(tmp_path):
    path = write(tmp_path / "a.jsonl", 40)
    once = len(set(texts(draw("train", 70, data=path, repeat=True))))
    problems = draw("train", 2 * once, data=path, repeat=True)
    first, second = texts(problems[:once]), texts(problems[once:])
    assert set(first) == set(second) and first != second
    assert len({problem.id for problem in problems}) == 2 * once
    with pytest.raises(DataError):
        draw("test", 40, data=path, repeat=True)


def test_long_problems_can_be_left_out(tmp_path):
    path = write(tmp_path / "a.jsonl", 200)
    assert max(map(len, texts(draw("train", 60, data=path, max_chars=len("What is 99 + 99?"))))) <= 16


def test_what_costs_too_much_for_every_row_is_done_for_the_chosen_only(tmp_path):
    finished = []

    def finish(problem, options):
        finished.append(problem.id)
        if len(finished) % 2:
            return None
        return problem.model_copy(update={"messages": [Message(role="user", content=problem.id)]})

    found = draw("train", 5, task=dataset_problems("sums", read_row, finish=finish), data=write(tmp_path / "a", 100))
    assert len(finished) == 10 and texts(found) == finished[1::2]


def test_holes_in_the_data_are_left_out_and_counted(tmp_path, capfd):
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"question": f"{i}?", "answer": "x" if i % 2 else None}) + "\n" for i in range(40))
    )
    assert all(int(text[:-1]) % 2 for text in texts(draw("train", 10, data=str(path))))
    assert "20 rows left out; the first: " in capfd.readouterr().err


def test_without_data_the_way_out_is_named():
    with pytest.raises(UsageError, match="needs data") as caught:
        draw("train", 1)
    assert "--data" in caught.value.hint
