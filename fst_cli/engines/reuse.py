"""Rollouts kept from an evolution, claimed by the RL step instead of sampling again (PAPER section 3, App. F).

A slot claims a kept rollout of the same problem and prompt, sampled with the same settings, each at most once. It
keeps its token ids and the log-probabilities of the policy that sampled it, so that the loss is what it would have
been had it come live.
"""

from collections.abc import Sequence
from pathlib import Path

from fst_cli.data import jsonl, tensors
from fst_cli.data.records import Rollout, Sampling
from fst_cli.data.tensors import Tokens
from fst_cli.engines.collect import Collected, Slot

Kept = tuple[Rollout, Tokens]


def load_kept(path: Path) -> list[Kept]:
    """The rollouts of an evaluations.jsonl with their tokens.

    Raises DataError where a row is missing.
    """
    rollouts = list(jsonl.read(path, Rollout))
    return list(zip(rollouts, tensors.of_rollouts(path, rollouts), strict=True))


def claim(kept: Sequence[Kept], slots: Sequence[Slot], sampling: Sampling, template: str) -> dict[int, Kept]:
    """The kept rollout of each slot that has one, by the slot's place.

    `template` is the hash of the chat template: what another one rendered is not the same prompt.
    """
    free: dict[tuple[str, str], list[Kept]] = {}
    for rollout, tokens in kept:
        if rollout.sampling == sampling and rollout.template == template and rollout.score.status == "ok":
            free.setdefault((rollout.problem_id, rollout.prompt_id), []).append((rollout, tokens))
    claimed = {}
    for place, slot in enumerate(slots):
        mine = free.get((slot.problem.id, slot.prompt.id))
        if mine:
            rollout, tokens = mine.pop(0)
            changes = {
                "id": f"{slot.problem.id}/{slot.prompt.id}/{slot.sample}",
                "group_id": slot.problem.id,
                "sample": slot.sample,
                "reused": True,
            }
            claimed[place] = (rollout.model_copy(update=changes), tokens)
    return claimed


def with_claimed(live: Collected, claimed: dict[int, Kept]) -> Collected:
    """The sampled rollouts and the claimed ones in the order of their slots; `row` is that order."""
    sampled = iter(zip(live.rollouts, live.tokens, strict=True))
    count = len(live.rollouts) + len(claimed)
    both = [claimed[place] if place in claimed else next(sampled) for place in range(count)]
    rollouts = [rollout.model_copy(update={"row": row}) for row, (rollout, _) in enumerate(both)]
    return Collected(rollouts, [tokens for _, tokens in both], live.seconds)
