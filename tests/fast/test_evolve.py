from dataclasses import replace

import pytest

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Proposal, Rollout, Sampling
from fst_cli.engines.collect import collect
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.evolve import EvolveSettings, evolve
from fst_cli.fast.population import make_prompt, seed_population
from fst_cli.fast.reflectors.base import Edit, ReflectionError
from fst_cli.fast.reflectors.heuristic import HeuristicReflector
from fst_cli.tasks import math

SETTINGS = EvolveSettings(
    k=3, budget=60, anchor=6, minibatch=2, evolve="both", max_examples=2, max_instruction_tokens=120,
    sampling=Sampling(max_tokens=16), seed=0, cycle=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def problems():
    return list(math.problems(math.MathOptions(difficulty=1), "train", 14, 0))


def run(mini, problems, folder, reflector=None, population=None, **changes):
    folder.mkdir(exist_ok=True)
    population = population or seed_population(math.SEED_PROMPT)
    settings = replace(SETTINGS, **changes)
    return evolve(
        mini, TransformersEngine(mini), problems, population, reflector or HeuristicReflector(), settings, folder
    )


class Scripted:
    """A reflector that does what it is told."""

    name = "scripted"

    def __init__(self, act):
        self.act, self.calls = act, 0

    def reflect(self, parent, traces, pool, seed):
        self.calls += 1
        return self.act(self.calls, parent, traces)


def test_a_population_comes_out_with_scores_lineage_and_evidence(mini, problems, tmp_path):
    evolved = run(mini, problems, tmp_path)
    assert len(evolved.prompts) == 3 and [p.rank for p in evolved.prompts] == [0, 1, 2]
    anchor = {problem.id for problem in problems[:6]}
    known = {p.id for p in evolved.prompts} | {make_prompt(math.SEED_PROMPT).id}
    for prompt in evolved.prompts:
        assert set(prompt.scores) == anchor and prompt.mean == pytest.approx(sum(prompt.scores.values()) / 6)
        assert prompt.origin in ("seed", "fill") or (prompt.parents and prompt.edit)
    proposals = list(jsonl.read(tmp_path / "proposals.jsonl", Proposal))
    assert len(proposals) == evolved.figures["proposals"] > 0
    assert all(parent in known | {p for x in proposals for p in x.parents} for x in proposals for parent in x.parents)
    rollouts = list(jsonl.read(tmp_path / "evaluations.jsonl", Rollout))
    assert len(rollouts) == evolved.figures["metric_calls"] + evolved.figures["rescoring_calls"]
    assert len(tensors.read(tmp_path / "evaluations.safetensors")) == len(rollouts)


def test_the_budget_is_never_exceeded_and_rescoring_is_counted_apart(mini, problems, tmp_path):
    members = [make_prompt(text) for text in ("One.", "Two.", "Three.")]
    figures = run(mini, problems, tmp_path, population=members, budget=31).figures
    assert figures["metric_calls"] <= 31 and figures["rescoring_calls"] == 18
    spent = {"accepted": 2 * 2 + 6, "rejected": 4, "duplicate": 2, "failed": 2}
    proposals = list(jsonl.read(tmp_path / "proposals.jsonl", Proposal))
    assert figures["metric_calls"] == sum(spent[proposal.outcome] for proposal in proposals)


def test_the_same_seed_evolves_the_same_population(mini, problems, tmp_path):
    first, again, other = (
        [p.id for p in run(mini, problems, tmp_path / name, seed=seed).prompts]
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again != other


def test_parents_are_drawn_from_the_whole_carried_population(mini, problems, tmp_path, monkeypatch):
    members = [make_prompt(text) for text in ("One.", "Two.", "Three.")]
    place = {member.id: number for number, member in enumerate(members)}
    number = {problem.id: i for i, problem in enumerate(problems)}

    def each_best_somewhere(*args):
        """Every member wins on a third of the anchor problems, so that all are on the frontier."""
        found = collect(*args)
        rollouts = [
            r.model_copy(update={"score": r.score.model_copy(update={"reward": float(place.get(r.prompt_id) == number[r.problem_id] % 3)})})
            for r in found.rollouts
        ]  # fmt: skip
        return replace(found, rollouts=rollouts)

    monkeypatch.setattr("fst_cli.fast.adapter.collect", each_best_somewhere)
    run(mini, problems, tmp_path, population=members, budget=120, evolve="instruction")
    parents = {p.parents[0] for p in jsonl.read(tmp_path / "proposals.jsonl", Proposal)}
    assert {member.id for member in members} <= parents


def test_examples_come_from_train_problems_outside_the_anchor_set(mini, problems, tmp_path):
    run(mini, problems, tmp_path, evolve="examples", budget=120)
    examples = [e for p in jsonl.read(tmp_path / "proposals.jsonl", Proposal) for e in p.examples]
    outside = {problem.id: problem for problem in problems[6:]}
    assert examples and all(e.problem_id in outside for e in examples)
    assert all(math.score(outside[e.problem_id], e.reply).success for e in examples)


def test_a_failed_reflection_is_recorded_counted_and_skipped(mini, problems, tmp_path):
    def act(call, parent, traces):
        if call % 2:
            raise ReflectionError("no tags", transcript="babble")
        return Edit(f"Edit number {call}.", "edited")

    figures = run(mini, problems, tmp_path, Scripted(act), evolve="instruction").figures
    failed = [p for p in jsonl.read(tmp_path / "proposals.jsonl", Proposal) if p.outcome == "failed"]
    assert len(failed) == figures["proposals_failed"] > 0
    assert all(p.instruction is None and p.transcript == "babble" and p.edit == "no tags" for p in failed)


def test_a_duplicate_is_not_scored_twice(mini, problems, tmp_path):
    reflector = Scripted(lambda call, parent, traces: Edit("Always this.", "same"))
    evolved = run(mini, problems, tmp_path, reflector, evolve="instruction")
    assert evolved.figures["proposals_duplicate"] > 0
    assert evolved.figures["pool"] == 2


@pytest.mark.parametrize(
    ("instruction", "said"),
    [(lambda traces: "word " * 500, "tokens, over 120"), (lambda traces: f"E.g. {traces[0].problem.messages[0].content}", "copies a problem")],
)  # fmt: skip
def test_a_prompt_that_is_too_long_or_copies_a_problem_is_refused(mini, problems, tmp_path, instruction, said):
    reflector = Scripted(lambda call, parent, traces: Edit(instruction(traces), "bad"))
    evolved = run(mini, problems, tmp_path, reflector, evolve="instruction")
    proposals = list(jsonl.read(tmp_path / "proposals.jsonl", Proposal))
    assert {p.outcome for p in proposals} == {"failed"} and all(said in p.edit for p in proposals)
    assert evolved.figures["pool"] == 1 and [p.origin for p in evolved.prompts] == ["seed", "fill", "fill"]


def test_a_reflector_that_is_gone_fails_the_run(mini, problems, tmp_path):
    def act(call, parent, traces):
        raise RunError("the server is gone")

    reflector = Scripted(act)
    with pytest.raises(RunError, match="the server is gone"):
        run(mini, problems, tmp_path, reflector, evolve="instruction")
    assert reflector.calls == 1


def test_a_budget_without_a_proposal_and_an_anchor_without_problems_are_refused(mini, problems, tmp_path):
    with pytest.raises(UsageError, match="affords no proposal"):
        run(mini, problems, tmp_path / "a", budget=9)
    with pytest.raises(UsageError, match="anchor set of 15"):
        run(mini, problems, tmp_path / "b", anchor=15)
