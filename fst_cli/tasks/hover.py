"""HoVer: write the follow-up search query that finds the pages still missing to verify a claim (PAPER section 5).

A claim's first keyword search is done when the problem is made; its results are shown in short. The reply's query, in
a fenced code block, is searched in the same corpus: success is all remaining gold pages within the first k.

[open] How the paper made the hard set. Ours: `hover-hard` takes claims of three and four hops with two or more pages
missing after the first search. In both, a claim is taken only where all its pages are in the corpus, one is missing,
and a query of the missing titles finds them.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import Field

from fst_cli.data.errors import UsageError
from fst_cli.data.records import Message, Problem, Score
from fst_cli.grading.answers import fenced
from fst_cli.tasks.base import Source, Task
from fst_cli.tasks.dataset import DataOptions, Draft, dataset_problems
from fst_cli.tasks.rows import Row, absolute
from fst_cli.tasks.search import Page, open_index
from fst_cli.tasks.splits import Split

SEED_PROMPT = (
    "You are a research assistant verifying a multi-hop factual claim against Wikipedia. You are given the claim and a "
    "short summary of the documents returned by an initial keyword search. Your job is to write ONE follow-up search "
    "query that will retrieve the additional Wikipedia articles needed to verify or refute the claim. Output the query "
    "on its own line inside a fenced code block."
)
REMEDIES: dict[str, list[str]] = {
    "no_query": [
        "End with the query on one line between ``` and ```.",
        "Write only the query, inside a fenced code block.",
        "Be brief.",
    ],
    "wrong_format": ["Write one query on one line in the code block.", "Keep the query under twenty words."],
    "missed_pages": [
        "Name the people, places and works that the claim speaks of and the documents do not cover.",
        "Do not search for what the documents already say.",
        "Write the likely titles of the missing articles, not a question.",
        "Follow the clues in the documents to names that the claim only describes.",
        "Leave out words that every article has.",
    ],
}
LONGEST_QUERY = 500  # characters


class HoverOptions(DataOptions):
    """Which claims, and how they are searched."""

    corpus: str = Field(default="", description="the pages: JSONL of {title, text}, HotpotQA's JSON, or hub:...")
    min_hops: int = Field(default=2, ge=1, description="gold pages of a claim, at least")
    min_missing: int = Field(default=1, ge=1, description="gold pages that the first search misses, at least")
    first_k: int = Field(default=5, ge=1, description="pages of the first search")
    k: int = Field(default=10, ge=1, description="pages of the follow-up search")
    summary_chars: int = Field(default=160, ge=0, description="of each page of the first search")


class HardHoverOptions(HoverOptions):
    """The same, for the harder claims."""

    min_hops: int = Field(default=3, ge=1, description="gold pages of a claim, at least")
    min_missing: int = Field(default=2, ge=1, description="gold pages that the first search misses, at least")


def read_row(row: Row, options: HoverOptions) -> Draft | None:
    """A claim of HoVer's form, or a question of HotpotQA's; None where it has too few hops."""
    gold = _gold_titles(row)
    return Draft(row.text("claim", "question").strip(), " | ".join(gold)) if len(gold) >= options.min_hops else None


def first_search(problem: Problem, options: HoverOptions) -> Problem | None:
    """The problem with its first search done; None where too little is missing, or a page is not in the corpus."""
    index, claim = open_index(options.corpus), problem.messages[0].content
    first = index.search(claim, options.first_k)
    found = {page.title for page in first}
    missing = [title for title in problem.answer.split(" | ") if title not in found]
    if len(missing) < options.min_missing:
        return None
    if not {page.title for page in index.search(" ".join(missing), options.k)}.issuperset(missing):
        return None
    question = f"Claim: {claim}\n\nDocuments found so far:\n{summary(first, options.summary_chars)}"
    return problem.model_copy(
        update={
            "messages": [Message(role="user", content=question)],
            "answer": " | ".join(missing),
            "meta": {
                "corpus": options.corpus,
                "k": options.k,
                "missing": missing,
                "summary_chars": options.summary_chars,
            },
        }
    )


def _gold_titles(row: Row) -> list[str]:
    facts = row.get("supporting_facts")
    titles = facts.get("title") if isinstance(facts, dict) else [fact[0] for fact in facts or [] if fact]
    if not titles:
        raise row.lacks("supporting_facts")
    return list(dict.fromkeys(map(str, titles)))


def summary(pages: list[Page], chars: int) -> str:
    """A line a page: the title and how its text begins."""
    lines = []
    for page in pages:
        text = " ".join(page.text.split())
        lines.append(
            f"- {page.title}: {text[:chars]}{'...' if len(text) > chars else ''}" if text else f"- {page.title}"
        )
    return "\n".join(lines) or "- none"


def score(problem: Problem, text: str) -> Score:
    """1.0 where the query in the last fenced block finds all missing pages."""
    return _score(problem, fenced(text)[-1:])


def _score(problem: Problem, queries: Sequence[str]) -> Score:
    """1.0 where the queries together find all missing pages; the feedback lists what was found and what missed."""
    if not queries:
        return Score(reward=0.0, success=False, failure="no_query", feedback="There is no fenced code block to read.")
    usable = [query for query in queries if _is_query(query)]
    if not usable:
        query = queries[-1]
        what = "is empty" if not query else "holds several lines" if "\n" in query else f"has {len(query)} characters"
        feedback = f"The code block {what}; one query on one line is wanted."
        return Score(reward=0.0, success=False, failure="wrong_format", feedback=feedback)
    index, k = open_index(problem.meta["corpus"]), problem.meta["k"]
    return _verdict(problem, [page.title for query in usable for page in index.search(query, k)])


def _is_query(text: str) -> bool:
    return bool(text) and "\n" not in text and len(text) <= LONGEST_QUERY


def _verdict(problem: Problem, titles: list[str]) -> Score:
    """The score of a search that found these pages."""
    missing = problem.meta["missing"]
    found = [title for title in missing if title in titles]
    missed = [title for title in missing if title not in titles]
    if not missed:
        return Score(reward=1.0, success=True, feedback=f"Correct: found {', '.join(found)}.")
    shown = ", ".join(titles[:5]) or "nothing"
    needed = ", ".join(found) or "none of the needed pages"
    feedback = f"Missed: {', '.join(missed)}. Found: {needed}. The search gave {shown}."
    return Score(reward=0.0, success=False, failure="missed_pages", feedback=feedback)


# --- with a second search ---

TWO_HOP_PROMPT = SEED_PROMPT.replace("ONE follow-up search query", "follow-up search queries, two at most,").replace(
    "Output the query on its own line inside a fenced code block.",
    "Output one query on its own line inside a fenced code block and stop; its results are given to you, and you may "
    "search once more for what is still missing.",
)


def respond(problem: Problem, turns: Sequence[str]) -> str | None:
    """The results of the first query; None after the second, and where there is no query to search for."""
    queries = fenced(turns[-1])[-1:]
    if len(turns) > 1 or not queries or not _is_query(queries[0]):
        return None
    pages = open_index(problem.meta["corpus"]).search(queries[0], problem.meta["k"])
    return f"Documents found:\n{summary(pages, problem.meta['summary_chars'])}"


def score_two_hops(problem: Problem, text: str) -> Score:
    """1.0 where the queries in the last two fenced blocks together find all missing pages."""
    return _score(problem, fenced(text)[-2:])


def worked_solution(problem: Problem) -> str:
    """A query of the missing titles."""
    missing = problem.meta["missing"]
    return f"The documents do not cover: {', '.join(missing)}.\n```\n{' '.join(missing)}\n```"


def _problems(name: str, options: HoverOptions, split: Split, count: int, seed: int) -> Iterator[Problem]:
    if not options.corpus:
        raise UsageError(
            f"task {name} needs a corpus",
            hint="--set corpus=PAGES.jsonl with a title and a text a line, and --data CLAIMS",
        )
    make = dataset_problems(name, read_row, finish=first_search)
    return make(options.model_copy(update={"corpus": absolute(options.corpus)}), split, count, seed)


_NEEDS = "--data hover_train_release_v1.1.json and --set corpus=PAGES.jsonl"
TASK = Task(
    name="hover",
    summary="multi-hop claims: one follow-up search query",
    seed_prompt=SEED_PROMPT,
    options=HoverOptions,
    problems=functools.partial(_problems, "hover"),
    score=score,
    worked_solution=worked_solution,
    remedies=REMEDIES,
    source=Source("github hover-nlp/hover, Wikipedia pages", "18171 train, 4000 dev", "MIT (claims)", _NEEDS),
)
TASKS = [
    TASK,
    replace(
        TASK,
        name="hover-hard",
        summary="the same, three and four hops, two pages missing",
        options=HardHoverOptions,
        problems=functools.partial(_problems, "hover-hard"),
    ),
    replace(
        TASK,
        name="hover-2hop",
        summary="the hard ones, with two searches",
        seed_prompt=TWO_HOP_PROMPT,
        options=HardHoverOptions,
        problems=functools.partial(_problems, "hover-2hop"),
        score=score_two_hops,
        respond=respond,
        max_turns=2,
    ),
]
