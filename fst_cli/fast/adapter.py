"""Our side of gepa: how a candidate is evaluated, what the reflector reads, and what became of each proposal."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fst_cli.data.errors import FstError
from fst_cli.data.records import Example, Problem, Prompt, Proposal, Sampling
from fst_cli.data.seeds import Part, derive
from fst_cli.engines.base import Engine
from fst_cli.engines.collect import Collected, Slot, collect
from fst_cli.fast.examples import edit_examples, harvest
from fst_cli.fast.population import from_candidate, make_prompt, scored, to_candidate
from fst_cli.fast.reflectors.base import ReflectionError, Reflector, Trace
from fst_cli.policy.chat import PromptTooLongError, render
from fst_cli.policy.model import Policy

if TYPE_CHECKING:
    from gepa.core.adapter import EvaluationBatch

Candidate = dict[str, str]


@dataclass
class PromptAdapter:
    """gepa's adapter over one frozen policy.

    A failed reflection is recorded and skipped. A failure of the run itself (`fatal`) stops gepa, which would
    otherwise log it and go on.
    """

    policy: Policy
    engine: Engine
    sampling: Sampling
    reflector: Reflector
    example_pool: list[Example]
    max_examples: int
    max_instruction_tokens: int
    longest: list[Problem]
    address: tuple[Part, ...]
    cycle: int
    feedback_ids: set[str]
    known: dict[str, Prompt] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)
    collected: list[Collected] = field(default_factory=list)
    fatal: FstError | None = None
    advance: Callable[[int], None] = lambda n: None
    _seen: Counter = field(default_factory=Counter)

    # --- what gepa calls ---

    def evaluate(self, batch: list[Problem], candidate: Candidate, capture_traces: bool = False) -> "EvaluationBatch":
        """Score one candidate, one sample a problem."""
        return self.batch_evaluate([(candidate, batch)])[0]

    def batch_evaluate(self, items: list[tuple[Candidate, list[Problem]]]) -> "list[EvaluationBatch]":
        """Score many candidates in one engine call."""
        from gepa.core.adapter import EvaluationBatch

        slots, sizes = [], []
        for candidate, problems in items:
            prompt = from_candidate(candidate)
            slots += [self._slot(problem, prompt) for problem in problems]
            sizes.append(len(problems))
        if not slots:
            return [EvaluationBatch(outputs=[], scores=[], trajectories=[]) for _ in items]
        found = collect(self.policy, self.engine, slots, self.sampling, self.address, "scoring prompts")
        self.collected.append(found)
        self.advance(len(slots))
        batches, start = [], 0
        for (_, problems), size in zip(items, sizes, strict=True):
            rollouts = found.rollouts[start : start + size]
            traces = [Trace(problem, rollout) for problem, rollout in zip(problems, rollouts, strict=True)]
            self._harvest(traces)
            scores = [rollout.score.reward for rollout in rollouts]
            batches.append(EvaluationBatch(outputs=[r.id for r in rollouts], scores=scores, trajectories=traces))
            start += size
        return batches

    def make_reflective_dataset(
        self, candidate: Candidate, eval_batch: "EvaluationBatch", components: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The traces, as they are: our reflectors read records, not a rendering of them."""
        return {name: [{"trace": trace} for trace in eval_batch.trajectories or []] for name in components}

    def propose_new_texts(
        self, candidate: Candidate, dataset: Mapping[str, Sequence[Mapping[str, Any]]], components: list[str]
    ) -> Candidate:
        """The edited components; an empty dict, which gepa skips, where the proposal failed."""
        parent = self.known[from_candidate(candidate).id]
        component = components[0]
        traces = [item["trace"] for item in dataset[component]]
        try:
            return self._propose(parent, traces, component, derive(*self.address, "propose", len(self.proposals)))
        except ReflectionError as error:
            self._record("failed", [parent.id], str(error), None, traces, transcript=error.transcript)
        except FstError as error:
            self.fatal = error
        return {}

    # --- callbacks of gepa ---

    def on_valset_evaluated(self, event: dict[str, Any]) -> None:
        """Keep the anchor mean of every prompt of the pool, for the reflectors' choice of partners."""
        prompt = from_candidate(event["candidate"])
        scores = {str(number): score for number, score in event["scores_by_val_id"].items()}
        if prompt.id in self.known and scores:
            self.known[prompt.id] = scored(self.known[prompt.id], scores)

    def on_candidate_accepted(self, event: dict[str, Any]) -> None:
        """The last proposal entered the pool."""
        self._judge("accepted", event["new_score"])

    def on_candidate_rejected(self, event: dict[str, Any]) -> None:
        """The last proposal did not pass the minibatch."""
        self._judge("rejected", event["new_score"])

    # --- ours ---

    def _harvest(self, traces: list[Trace]) -> None:
        """A successful rollout is an example too, where its task has no worked solution."""
        have = {example.problem_id for example in self.example_pool} | {
            t.problem.id for t in traces
        } - self.feedback_ids
        found = harvest((trace.problem, trace.rollout) for trace in traces)
        self.example_pool += [example for example in found if example.problem_id not in have]

    def _slot(self, problem: Problem, prompt: Prompt) -> Slot:
        """A slot with fresh draws: its address counts how often this pair was scored."""
        times = self._seen[prompt.id, problem.id]
        self._seen[prompt.id, problem.id] += 1
        return Slot(problem, prompt, 0, address=(times,))

    def _propose(self, parent: Prompt, traces: list[Trace], component: str, seed: int) -> Candidate:
        pool = [prompt for prompt in self.known.values() if prompt.id != parent.id]
        parents, transcript, origin = [parent.id], "", "edit"
        instruction, examples = parent.instruction, list(parent.examples)
        if component == "examples":
            examples, summary = edit_examples(parent, self.example_pool, self.max_examples, seed)
        else:
            edit = self.reflector.reflect(parent, traces, pool, seed)
            instruction, summary, transcript = edit.instruction, edit.summary, edit.transcript
            parents += edit.crossed_with
            origin = "cross" if edit.crossed_with else "edit"
        child = make_prompt(instruction, examples, parents=parents, origin=origin, edit=summary, cycle=self.cycle)
        self._check(child, traces, transcript)
        if child.id in self.known:
            self._record("duplicate", parents, summary, child, traces, transcript=transcript)
            return {}
        self.known[child.id] = child
        self._record("rejected", parents, summary, child, traces, transcript=transcript)
        return {component: to_candidate(child)[component]}

    def _check(self, child: Prompt, traces: list[Trace], transcript: str) -> None:
        """Refuse a prompt that is too long or copies a minibatch problem (PITFALLS 19)."""
        size = len(self.policy.tokenizer.encode(child.instruction, add_special_tokens=False))
        if size > self.max_instruction_tokens:
            raise ReflectionError(f"the instruction has {size} tokens, over {self.max_instruction_tokens}", transcript)
        for trace in traces:
            if trace.problem.messages[-1].content.strip() in child.instruction:
                raise ReflectionError("the instruction copies a problem of the minibatch", transcript)
        try:
            for problem in self.longest:
                render(self.policy.tokenizer, child, problem, self.policy.context - self.sampling.max_tokens)
        except PromptTooLongError as error:
            raise ReflectionError(str(error), transcript) from None

    def _record(
        self, outcome: str, parents: list[str], edit: str, child: Prompt | None, traces: list[Trace], transcript: str
    ) -> None:
        self.proposals.append(
            Proposal.model_validate(
                {
                    "index": len(self.proposals),
                    "parents": parents,
                    "reflector": self.reflector.name,
                    "edit": edit,
                    "instruction": child.instruction if child else None,
                    "examples": child.examples if child else [],
                    "outcome": outcome,
                    "parent_reward": sum(trace.rollout.score.reward for trace in traces),
                    "transcript": transcript,
                }
            )
        )

    def _judge(self, outcome: str, child_reward: float) -> None:
        update = {"outcome": outcome, "child_reward": child_reward}
        self.proposals[-1] = self.proposals[-1].model_copy(update=update)
