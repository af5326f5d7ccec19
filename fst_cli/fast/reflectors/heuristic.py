"""The embedded reflector: no language model, small edits chosen from the feedback. It is what it is.

It counts the kinds of failure in the minibatch and answers the most frequent with one sentence from the task's list
of remedies (`Task.remedies`), or swaps one sentence for another, drops one, or takes one over from another prompt of
the pool. It can't write a new thought; selection by gepa does the rest. It never sees a gold answer.
"""

import random
import re
from collections import Counter
from collections.abc import Sequence

from fst_cli.data.records import Prompt
from fst_cli.data.seeds import generator
from fst_cli.fast.reflectors.base import Edit, ReflectionError, Trace
from fst_cli.tasks.registry import get_task

# How often each kind of edit is tried where it is possible.
WEIGHTS = {"add": 0.4, "swap": 0.3, "drop": 0.1, "cross": 0.2}


class HeuristicReflector:
    """See the module."""

    name = "heuristic"

    def reflect(self, parent: Prompt, traces: Sequence[Trace], pool: Sequence[Prompt], seed: int) -> Edit:
        """One small edit of the parent's instruction."""
        rng = generator("heuristic", seed)
        remedy = _remedy(parent, traces, rng)
        partner = _partner(parent, pool, rng)
        kept = sentences(parent.instruction)
        possible = {
            "add": remedy is not None,
            "swap": remedy is not None and bool(kept),
            "drop": len(kept) > 1,
            "cross": partner is not None,
        }
        kinds = [kind for kind in WEIGHTS if possible[kind]]
        if not kinds:
            raise ReflectionError("no remedy left to try")
        kind = rng.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        if kind == "cross":
            assert partner is not None
            return _cross(kept, partner, rng)
        dropped = rng.choice(kept) if kind in ("swap", "drop") else None
        added = [remedy] if kind in ("add", "swap") and remedy else []
        text = " ".join([*(sentence for sentence in kept if sentence != dropped), *added])
        steps = [f"drop: {dropped}"] if dropped else []
        return Edit(text, "; ".join([*steps, *(f"add: {sentence}" for sentence in added)]))


def sentences(text: str) -> list[str]:
    """The sentences of an instruction."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def _remedy(parent: Prompt, traces: Sequence[Trace], rng: random.Random) -> str | None:
    """A sentence against the most frequent failure that the parent does not have yet."""
    failures = Counter(trace.rollout.score.failure for trace in traces if not trace.rollout.score.success)
    kinds = [kind for kind, _ in failures.most_common() if kind]
    for kind in kinds:
        remedies = get_task(traces[0].problem.task).remedies.get(kind, [])
        new = [remedy for remedy in remedies if remedy not in parent.instruction]
        if new:
            return rng.choice(new)
    return None


def _partner(parent: Prompt, pool: Sequence[Prompt], rng: random.Random) -> Prompt | None:
    """Another prompt that says something the parent does not, the better ones more likely."""
    mine = set(sentences(parent.instruction))
    others = [prompt for prompt in pool if set(sentences(prompt.instruction)) - mine]
    weights = [0.05 + (prompt.mean or 0.0) for prompt in others]
    return rng.choices(others, weights)[0] if others else None


def _cross(kept: list[str], partner: Prompt, rng: random.Random) -> Edit:
    taken = rng.choice([sentence for sentence in sentences(partner.instruction) if sentence not in kept])
    return Edit(" ".join([*kept, taken]), f"cross with {partner.id}: {taken}", crossed_with=[partner.id])
