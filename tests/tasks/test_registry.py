import importlib.metadata
import textwrap

import pytest

from fst_cli.data.errors import UsageError
from fst_cli.tasks import registry, stargraph
from fst_cli.tasks.registry import get_task, task_options, tasks


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        get_task("stargaph")
    assert "`stargraph`" in caught.value.hint


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(UsageError, match="no option `dificulty`") as caught:
        task_options(get_task("math"), {"dificulty": 2})
    assert "`difficulty`" in caught.value.hint


def test_a_python_file_is_a_task_by_its_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        textwrap.dedent("""
        from fst_cli.data.records import Message, Problem, Score
        from fst_cli.tasks.base import Source, Task

        def problems(options, split, count, seed):
            for i in range(count):
                yield Problem(id=str(i), task="", split=split, messages=[Message(role="user", content="?")], answer="1")

        def score(problem, text):
            return Score(reward=float(text == "1"), success=text == "1", feedback="")

        TASK = Task("mine", "", "", problems, score, Source("", "", ""))
        """)
    )
    task = get_task(str(path))
    assert task.name == str(path) and get_task(task.name) is task
    assert task.score(next(task.problems(task_options(task, {}), "train", 1, 0)), "1").success


@pytest.mark.parametrize(
    ("text", "said"),
    [("x = 1", "has no TASK"), ("1/0", "ZeroDivisionError"), ("TASK = 3", "has no TASK"), (None, "no such")],
)
def test_a_file_that_is_no_task_is_told(tmp_path, text, said):
    path = tmp_path / f"{said.replace(' ', '')}{len(text or '')}.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=said):
        get_task(str(path))


def test_an_installed_package_offers_its_tasks_by_entry_point(monkeypatch):
    class Point:
        def load(self):
            return stargraph.TASK.__class__(**{**vars(stargraph.TASK), "name": "theirs"})

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "fst.tasks" else [])
    tasks.cache_clear()
    try:
        assert get_task("theirs").name == "theirs"
    finally:
        tasks.cache_clear()
    assert importlib.metadata.entry_points is not None


def test_every_task_says_where_its_problems_come_from():
    for task in tasks().values():
        assert task.source.origin and task.source.size and task.source.licence and task.source.needs
