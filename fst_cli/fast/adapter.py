"""Our side of gepa's evaluation: a candidate's score on problems, sampled from one frozen policy."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fst_cli.data.records import Problem, Rollout, Sampling
from fst_cli.data.seeds import Part
from fst_cli.data.tensors import Tokens
from fst_cli.engines.base import Engine
from fst_cli.engines.collect import Slot, collect
from fst_cli.fast.journal import Journal
from fst_cli.fast.population import from_candidate
from fst_cli.fast.reflectors.base import Trace
from fst_cli.policy.model import Policy

if TYPE_CHECKING:
    from gepa.core.adapter import EvaluationBatch

Candidate = dict[str, str]
Kept = tuple[Rollout, Tokens]
Key = tuple[str, str, str, str]


def cache_key(policy: str, prompt: str, problem: str, sampling: Sampling) -> Key:
    """What an evaluation depends on: weights, prompt, problem, sampling. Scores of other weights never match."""
    return policy, prompt, problem, sampling.model_dump_json()


@dataclass
class PromptAdapter:
    """gepa's adapter over one frozen policy.

    With `cache` not None, a prompt is sampled once on a problem and the rollout kept there is taken afterwards;
    without, every scoring draws anew.
    """

    policy: Policy
    engine: Engine
    sampling: Sampling
    address: tuple[Part, ...]
    anchor: list[Problem]
    journal: Journal
    cache: dict[Key, Kept] | None = None
    watch: Callable[[list[Trace]], None] = lambda traces: None
    advance: Callable[[int], None] = lambda n: None
    collected: list[Kept] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    propose_new_texts: None = None  # proposals are the proposer's
    _seen: Counter = field(default_factory=Counter)

    def evaluate(self, batch: list[Problem], candidate: Candidate, capture_traces: bool = False) -> "EvaluationBatch":
        """Score one candidate, one sample a problem."""
        return self.batch_evaluate([(candidate, batch)])[0]

    def batch_evaluate(self, items: list[tuple[Candidate, list[Problem]]]) -> "list[EvaluationBatch]":
        """Score many candidates in one engine call."""
        from gepa.core.adapter import EvaluationBatch

        started = time.perf_counter()
        pairs = [[(problem, from_candidate(candidate)) for problem in problems] for candidate, problems in items]
        known = [[self._known(problem.id, prompt.id) for problem, prompt in row] for row in pairs]
        slots = [
            self._slot(problem, prompt)
            for row, kept in zip(pairs, known, strict=True)
            for (problem, prompt), one in zip(row, kept, strict=True)
            if one is None
        ]
        fresh = iter(self._sample(slots))
        batches = []
        for row, kept in zip(pairs, known, strict=True):
            rollouts = [(one or next(fresh))[0] for one in kept]
            traces = [Trace(problem, rollout) for (problem, _), rollout in zip(row, rollouts, strict=True)]
            self.watch(traces)
            batches.append(
                EvaluationBatch(
                    outputs=[rollout.id for rollout in rollouts],
                    scores=[rollout.score.reward for rollout in rollouts],
                    trajectories=traces,
                    num_metric_calls=sum(one is None for one in kept),
                )
            )
        on_anchor = bool(items) and all(problems == self.anchor for _, problems in items)
        self.seconds["anchor" if on_anchor else "minibatch"] += time.perf_counter() - started
        return batches

    def make_reflective_dataset(
        self, candidate: Candidate, eval_batch: "EvaluationBatch", components: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The traces, as they are: our reflectors read records, not a rendering of them."""
        return {name: [{"trace": trace} for trace in eval_batch.trajectories or []] for name in components}

    def _known(self, problem: str, prompt: str) -> Kept | None:
        return self.cache.get(cache_key(self.policy.hash, prompt, problem, self.sampling)) if self.cache else None

    def _slot(self, problem: Problem, prompt: Any) -> Slot:
        """A slot with fresh draws: its address counts how often this pair was scored."""
        times = self._seen[prompt.id, problem.id]
        self._seen[prompt.id, problem.id] += 1
        return Slot(problem, prompt, 0, address=(times,))

    def _sample(self, slots: list[Slot]) -> list[Kept]:
        if not slots:
            return []

        def make() -> tuple[list[Rollout], list[Tokens]]:
            found = collect(self.policy, self.engine, slots, self.sampling, self.address, "scoring prompts")
            return found.rollouts, found.tokens

        request = [[slot.problem.id, slot.prompt.id, *slot.address] for slot in slots]
        rollouts, tokens = self.journal.rollouts(request, make)
        kept = list(zip(rollouts, tokens, strict=True))
        self.collected += kept
        self.advance(len(slots))
        if self.cache is not None:
            for rollout, row in kept:
                key = cache_key(rollout.policy, rollout.prompt_id, rollout.problem_id, self.sampling)
                self.cache[key] = (rollout, row)
        return kept
