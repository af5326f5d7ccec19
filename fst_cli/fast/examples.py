"""The other half of a prompt: worked examples, drawn from train problems outside the anchor set.

An example is a problem and its worked solution, or a successful rollout on it where the task has none; not one with
tool turns, from which a model would learn to write the tool's part itself. A prompt's example is never shown for the
very problem it comes from (`policy/chat.py` leaves it out there).
"""

from collections.abc import Iterable, Sequence

from fst_cli.data.records import Example, Problem, Prompt, Rollout
from fst_cli.data.seeds import generator
from fst_cli.fast.reflectors.base import ReflectionError
from fst_cli.tasks.registry import get_task


def worked_examples(problems: Iterable[Problem]) -> list[Example]:
    """An example for each train problem that its task can work out."""
    found = []
    for problem in problems:
        reply = get_task(problem.task).worked_solution(problem) if problem.split == "train" else None
        if reply:
            found.append(Example(question=problem.messages[-1].content, reply=reply, problem_id=problem.id))
    return found


def harvest(pairs: Iterable[tuple[Problem, Rollout]]) -> list[Example]:
    """An example for each train problem with a successful rollout."""
    found: dict[str, Example] = {}
    for problem, rollout in pairs:
        if problem.split == "train" and rollout.score.success and not rollout.turns:
            example = Example(question=problem.messages[-1].content, reply=rollout.text, problem_id=problem.id)
            found.setdefault(problem.id, example)
    return list(found.values())


def edit_examples(parent: Prompt, pool: Sequence[Example], most: int, seed: int) -> tuple[list[Example], str]:
    """Add, swap or drop one example; the new list and what was done.

    Raises ReflectionError where nothing can be done.
    """
    rng = generator("examples", seed)
    shown = list(parent.examples)
    used = {example.problem_id for example in shown}
    fresh = [example for example in pool if example.problem_id not in used]
    kinds = {
        "add": 0.6 if fresh and len(shown) < most else 0.0,
        "swap": 0.3 if fresh and shown else 0.0,
        "drop": 0.1 if shown else 0.0,
    }
    if not any(kinds.values()):
        raise ReflectionError("no worked example to add")
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    done = []
    if kind in ("swap", "drop"):
        gone = shown.pop(rng.randrange(len(shown)))
        done.append(f"drop the example {gone.problem_id}")
    if kind in ("add", "swap"):
        new = rng.choice(fresh)
        shown.insert(rng.randint(0, len(shown)), new)
        done.append(f"add the example {new.problem_id}")
    return shown, "; ".join(done)
