import pytest

from fst_cli.data.errors import UsageError
from fst_cli.data.records import Message, Problem
from fst_cli.tasks.registry import get_task, task_options, tasks


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        get_task("stargaph")
    assert "`stargraph`" in caught.value.hint


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(UsageError, match="no option `dificulty`") as caught:
        task_options(get_task("math"), {"dificulty": 2})
    assert "`difficulty`" in caught.value.hint


@pytest.mark.parametrize("name", sorted(tasks()))
def test_every_failure_that_a_task_reports_has_remedies_or_is_a_broken_grader(name):
    task = get_task(name)
    small = {"d": 3, "p": 3, "n": 20} if name == "stargraph" else {}
    problem = next(task.problems(task_options(task, small), "train", 1, 0))
    assert isinstance(problem, Problem) and isinstance(problem.messages[-1], Message)
    for reply in ("", "\\boxed{}", "\\boxed{4711}"):
        failure = task.score(problem, reply).failure
        assert task.remedies[failure]
