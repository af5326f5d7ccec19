import json

import pytest

from fst_cli.data.errors import UsageError
from fst_cli.tasks import search
from fst_cli.tasks.registry import get_task, task_options
from fst_cli.tasks.search import open_index


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    search._open.cache_clear()
    yield tmp_path / "cache/fst/search"
    search._open.cache_clear()


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


PAGES = [
    {"title": "Ada", "text": "Ada was born in Arden."},
    {"title": "Arden", "text": ["Arden is a town", " on the river Bel."]},
    {"title": "Bel", "text": "A river."},
    {"title": "Ada", "text": "The same title again."},
    {"title": "Empty", "text": ""},
]


def test_the_best_page_comes_first_and_what_shares_no_word_not_at_all(cache, tmp_path):
    index = open_index(write(tmp_path / "pages.jsonl", PAGES))
    assert len(index) == 4
    assert [page.title for page in index.search("the river Bel", 5)] == ["Bel", "Arden"]
    assert index.search("nothing here matches zzz", 5) == [] and index.search("", 5) == []
    assert index.search("Arden town", 1)[0].text == "Arden is a town on the river Bel."


def test_an_index_is_built_once_and_again_when_the_corpus_changes(cache, tmp_path, capfd):
    path = write(tmp_path / "pages.jsonl", PAGES)
    open_index(path)
    search._open.cache_clear()
    open_index(path)
    assert capfd.readouterr().err.count("indexed") == 1 and len(list(cache.iterdir())) == 1
    write(tmp_path / "pages.jsonl", [*PAGES, {"title": "New", "text": "x"}])
    assert len(open_index(path)) == 5 and len(list(cache.iterdir())) == 2


def test_equal_scores_keep_the_order_of_the_corpus(cache, tmp_path):
    index = open_index(write(tmp_path / "p.jsonl", [{"title": f"T{i}", "text": "same words"} for i in range(50)]))
    for k in (1, 7, 50):
        assert [page.title for page in index.search("same words", k)] == [f"T{i}" for i in range(k)]


def draw(tmp_path, claims, split="test", name="hover", **options):
    task = get_task(name)
    given = {"test_data": write(tmp_path / "claims.jsonl", claims), "corpus": write(tmp_path / "pages.jsonl", PAGES)}
    return list(task.problems(task_options(task, given | {"first_k": 1, "k": 2} | options), split, 1, 0))


CLAIM = {
    "claim": "Ada was born on a waterway.",
    "supporting_facts": [["Ada", 0], ["Arden", 0], ["Arden", 1], ["Bel", 0]],
}


def test_the_first_search_is_shown_and_the_pages_it_missed_are_the_goal(cache, tmp_path):
    (problem,) = draw(tmp_path, [CLAIM])
    assert "Claim: Ada was born on a waterway." in problem.messages[0].content
    assert "- Ada: Ada was born in Arden." in problem.messages[0].content
    assert problem.meta["missing"] == ["Arden", "Bel"]


def test_hotpotqa_questions_and_contexts_are_claims_and_pages_too(cache, tmp_path):
    row = {
        "question": "On which river is the town of Ada?",
        "supporting_facts": {"title": ["Ada", "Arden"], "sent_id": [0, 0]},
        "context": {"title": ["Ada", "Arden"], "sentences": [["Ada was born in Arden."], ["Arden is a town."]]},
    }
    (tmp_path / "hotpot.json").write_text(json.dumps([row]))
    task, place = get_task("hover"), str(tmp_path / "hotpot.json")
    options = task_options(task, {"test_data": place, "corpus": place, "first_k": 1})
    (problem,) = task.problems(options, "test", 1, 0)
    assert len(problem.meta["missing"]) == 1


@pytest.mark.parametrize(
    "claim",
    [
        {"claim": "Ada", "supporting_facts": [["Ada", 0]]},  # one hop
        {"claim": "Ada Arden", "supporting_facts": [["Ada", 0], ["Nowhere", 0]]},  # a page that is not there
    ],
)
def test_claims_that_cannot_be_solved_or_need_nothing_are_left_out(cache, tmp_path, claim):
    assert draw(tmp_path, [claim, CLAIM])[0].messages[0].content.startswith("Claim: Ada was born")


@pytest.mark.parametrize(
    ("reply", "failure", "said"),
    [
        ("```\nArden town Bel river\n```", None, "found Arden, Bel"),
        ("```\nArden\n```", "missed_pages", "Missed: Bel. Found: Arden."),
        ("```\nxyzzy\n```", "missed_pages", "The search gave nothing."),
        ("Arden Bel", "no_query", "no fenced code block"),
        ("```\nArden\nBel\n```", "wrong_format", "several lines"),
        ("```\n```", "wrong_format", "is empty"),
        ("```\n" + "Arden Bel " * 99 + "\n```", "wrong_format", "characters"),
        ("```\nArden Bel\n``` or ```\nnothing\n```", "missed_pages", "Missed: Arden, Bel"),
    ],
)
def test_one_query_that_finds_all_missing_pages_is_success(cache, tmp_path, reply, failure, said):
    (problem,) = draw(tmp_path, [CLAIM])
    found = get_task("hover").score(problem, reply)
    assert found.failure == failure and found.success is (failure is None) and said in found.feedback


def test_a_second_search_sees_the_results_of_the_first_and_both_count(cache, tmp_path):
    (problem,) = draw(tmp_path, [CLAIM], name="hover-2hop")
    problem = problem.model_copy(update={"meta": problem.meta | {"k": 1}})
    task = get_task("hover-2hop")
    first, second = "```\nArden town\n```", "```\nBel\n```"
    assert task.respond(problem, [first]) == "Documents found:\n- Arden: Arden is a town on the river Bel."
    assert task.respond(problem, [first, second]) is None
    assert task.respond(problem, ["no query"]) is None and task.respond(problem, ["```\na\nb\n```"]) is None
    assert task.score(problem, f"{first}\n\n{second}").success
    assert task.score(problem, first).failure == "missed_pages"
    assert task.score(problem, f"{first}\n\nnothing").feedback.startswith("Missed: Bel. Found: Arden.")
    guesses = "\n".join(f"```\n{word}\n```" for word in ("Arden", "Bel", "x", "y"))
    assert not task.score(problem, guesses).success  # the last two count, not as many as one likes


def test_without_a_corpus_the_way_out_is_named():
    task = get_task("hover")
    with pytest.raises(UsageError, match="needs a corpus") as caught:
        list(task.problems(task_options(task, {"data": "x"}), "train", 1, 0))
    assert "corpus=" in caught.value.hint
