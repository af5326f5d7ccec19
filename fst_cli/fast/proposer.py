"""Our side of gepa's proposals: what the reflectors are asked, what is refused, and what became of each proposal.

It stands in three of gepa's places: the reflection (`reflect_many`), the selection after the minibatch (`select`),
and the callbacks of merges.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fst_cli.data.errors import FstError
from fst_cli.data.records import Example, Problem, Prompt, Proposal
from fst_cli.data.seeds import Part, derive
from fst_cli.fast.adapter import Candidate
from fst_cli.fast.examples import edit_examples, harvest
from fst_cli.fast.journal import Journal
from fst_cli.fast.overlap import copied
from fst_cli.fast.population import from_candidate, make_prompt, scored, to_candidate
from fst_cli.fast.reflectors.base import NO_USAGE, Edit, ReflectionError, Reflector, Trace, Usage
from fst_cli.fast.settings import EvolveSettings
from fst_cli.policy.chat import PromptTooLongError, render
from fst_cli.policy.model import Policy


@dataclass
class Proposer:
    """Proposes children, refuses unusable ones, and keeps a record of all.

    A failed reflection is recorded and skipped. A failure of the run itself (`fatal`) stops gepa, which would
    otherwise log it and go on.
    """

    policy: Policy
    reflector: Reflector
    settings: EvolveSettings
    room: int
    address: tuple[Part, ...]
    cycle: int
    problems: Sequence[Problem]
    example_pool: list[Example]
    example_sources: set[str]
    journal: Journal
    known: dict[str, Prompt] = field(default_factory=dict)
    proposals: list[Proposal] = field(default_factory=list)
    fatal: FstError | None = None
    seconds: float = 0.0
    _pool: dict[int, str] = field(default_factory=dict)  # prompt ids by their number in gepa's pool
    _merging: int = -1

    # --- gepa's reflection ---

    def reflect(self, candidate: Candidate, dataset: Any, components: list[str]) -> Any:
        """One proposal: gepa's texts and the reflector to use next."""
        return self.reflect_many([(candidate, dataset, components)])[0]

    def reflect_many(self, jobs: list[tuple[Candidate, Any, list[str]]]) -> list[tuple[Any, "Proposer"]]:
        """A proposal for each job, the reflectors side by side; without texts, which gepa skips, where it failed."""
        from gepa.proposer.reflective_mutation.reflection_lm import ReflectionProposal

        started, first = time.perf_counter(), len(self.proposals)
        asked = []
        for number, (candidate, dataset, (component, *_)) in enumerate(jobs, start=first):
            parent = self.known[from_candidate(candidate).id]
            asked.append((number, parent, [item["trace"] for item in dataset[component]], component))
        with ThreadPoolExecutor(len(jobs)) as threads:
            futures = [threads.submit(self._edit, *question) for question in asked]
        found = []
        for question, future in zip(asked, futures, strict=True):
            texts, metadata = {}, {"proposal": question[0]}
            try:
                texts = self._child(*question, future.result())
            except ReflectionError as error:
                self._record("failed", [question[1].id], str(error), None, question[2], error.transcript, error.usage)
            except FstError as error:
                self.fatal = error
                break
            found.append((ReflectionProposal(new_texts=texts, metadata=metadata), self))
        self.seconds += time.perf_counter() - started
        return found + [(ReflectionProposal(new_texts={}), self)] * (len(jobs) - len(found))

    # --- gepa's selection ---

    def select(self, proposals: list[Any], state: Any, acceptance: Any) -> list[Any]:
        """All that pass the acceptance criterion go on to the anchor set."""
        selected = [proposal for proposal in proposals if acceptance.should_accept(proposal, state)]
        for proposal in proposals:
            outcome = "accepted" if any(proposal is one for one in selected) else "rejected"
            self._judge(proposal.metadata["proposal"], outcome, sum(proposal.subsample_scores_after))
        return selected

    # --- gepa's callbacks ---

    def on_valset_evaluated(self, event: dict[str, Any]) -> None:
        """Keep the anchor scores of every prompt of the pool, for the reflectors' choice of partners."""
        prompt = from_candidate(event["candidate"])
        self._pool[event["candidate_idx"]] = prompt.id
        scores = {str(number): score for number, score in event["scores_by_val_id"].items()}
        if prompt.id in self.known and scores:
            self.known[prompt.id] = scored(self.known[prompt.id], scores)

    def on_merge_attempted(self, event: dict[str, Any]) -> None:
        """Record a merge, which gepa makes by itself."""
        merged = from_candidate(event["merged_candidate"])
        parents = [self._pool[number] for number in event["parent_ids"]]
        child = merged.model_copy(
            update={"parents": parents, "origin": "cross", "edit": "merge of two descendants", "cycle": self.cycle}
        )
        self._merging = len(self.proposals)
        self._record("duplicate" if child.id in self.known else "rejected", parents, child.edit, child, [])
        self.known.setdefault(child.id, child)

    def on_merge_accepted(self, event: dict[str, Any]) -> None:
        """The merge entered the pool."""
        if self.proposals[self._merging].outcome != "duplicate":
            self._judge(self._merging, "accepted", None)

    # --- ours ---

    def join(self, members: Sequence[Prompt]) -> None:
        """The carried prompts, in the order in which gepa's pool begins with them."""
        for number, prompt in enumerate(members):
            self.known[prompt.id] = prompt
            self._pool[number] = prompt.id

    def watch(self, traces: list[Trace]) -> None:
        """A successful rollout on a problem outside the anchor is an example, where its task has no worked solution."""
        have = {example.problem_id for example in self.example_pool}
        found = harvest((trace.problem, trace.rollout) for trace in traces)
        self.example_pool += [example for example in found if example.problem_id in self.example_sources - have]

    @property
    def usage(self) -> Usage:
        """What all reflections read, wrote and cost."""
        return Usage(
            sum(proposal.input_tokens for proposal in self.proposals),
            sum(proposal.output_tokens for proposal in self.proposals),
            sum(proposal.cost for proposal in self.proposals),
        )

    def _edit(self, number: int, parent: Prompt, traces: list[Trace], component: str) -> Edit | None:
        """The reflector's edit; None where the examples are to be edited, which needs none."""
        if component == "examples":
            return None
        seed = derive(*self.address, "propose", number)
        others = [prompt for prompt in self.known.values() if prompt.id != parent.id]
        request = [self.reflector.name, parent.id, [trace.rollout.id for trace in traces], seed]

        def ask() -> dict:
            try:
                edit = self.reflector.reflect(parent, traces, others, seed)
            except ReflectionError as error:
                return {"failed": str(error), "transcript": error.transcript, "usage": vars(error.usage)}
            return {**vars(edit), "usage": vars(edit.usage)}

        reply = self.journal.reply(number, request, ask)
        usage = Usage(**reply.pop("usage"))
        if "failed" in reply:
            raise ReflectionError(reply["failed"], reply["transcript"], usage)
        return Edit(**reply, usage=usage)

    def _child(self, number: int, parent: Prompt, traces: list[Trace], component: str, edit: Edit | None) -> Candidate:
        parents, transcript, usage, origin = [parent.id], "", NO_USAGE, "edit"
        instruction, examples = parent.instruction, list(parent.examples)
        if edit is None:
            seed = derive(*self.address, "propose", number)
            examples, summary = edit_examples(parent, self.example_pool, self.settings.max_examples, seed)
        else:
            instruction, summary, transcript, usage = edit.instruction, edit.summary, edit.transcript, edit.usage
            parents += edit.crossed_with
            origin = "cross" if edit.crossed_with else "edit"
        child = make_prompt(instruction, examples, parents=parents, origin=origin, edit=summary, cycle=self.cycle)
        self._check(child, parent, traces, transcript, usage)
        outcome = "duplicate" if child.id in self.known else "rejected"
        self._record(outcome, parents, summary, child, traces, transcript, usage)
        if outcome == "duplicate":
            return {}
        self.known[child.id] = child
        return {component: to_candidate(child)[component]}

    def _check(self, child: Prompt, parent: Prompt, traces: list[Trace], transcript: str, usage: Usage) -> None:
        """Refuse a prompt that is too long or copies a problem of the minibatch or its answer (PITFALLS 19)."""
        size = len(self.policy.tokenizer.encode(child.instruction, add_special_tokens=False))
        most = self.settings.max_instruction_tokens
        if size > most:
            raise ReflectionError(f"the instruction has {size} tokens, over {most}", transcript, usage)
        taken = copied(child.instruction, parent.instruction, [trace.problem for trace in traces], self.problems)
        if taken:
            raise ReflectionError(f"the instruction copies from a problem: {taken!r}", transcript, usage)
        longest = max(self.problems, key=lambda problem: sum(len(message.content) for message in problem.messages))
        try:
            render(self.policy.tokenizer, child, longest, self.room)
        except PromptTooLongError as error:
            raise ReflectionError(str(error), transcript, usage) from None

    def _record(
        self,
        outcome: str,
        parents: list[str],
        edit: str,
        child: Prompt | None,
        traces: list[Trace],
        transcript: str = "",
        usage: Usage = NO_USAGE,
    ) -> None:
        self.proposals.append(
            Proposal.model_validate(
                {
                    "index": len(self.proposals),
                    "parents": parents,
                    "reflector": self.reflector.name if traces else "merge",
                    "edit": edit,
                    "instruction": child.instruction if child else None,
                    "examples": child.examples if child else [],
                    "outcome": outcome,
                    "parent_reward": sum(trace.rollout.score.reward for trace in traces) if traces else None,
                    "transcript": transcript,
                    **vars(usage),
                }
            )
        )

    def _judge(self, number: int, outcome: str, child_reward: float | None) -> None:
        update = {"outcome": outcome, "child_reward": child_reward}
        self.proposals[number] = self.proposals[number].model_copy(update=update)
