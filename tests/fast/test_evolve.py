import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import Proposal, Rollout, Sampling
from fst_cli.data.seeds import derive
from fst_cli.engines.collect import collect
from fst_cli.engines.reuse import load_kept
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.evolve import Carried, evolve
from fst_cli.fast.journal import Journal
from fst_cli.fast.population import make_prompt, scored, seed_population
from fst_cli.fast.reflectors.base import Edit, ReflectionError, Usage
from fst_cli.fast.reflectors.heuristic import HeuristicReflector
from fst_cli.fast.settings import EvolveSettings
from fst_cli.tasks import math

SETTINGS = {"k": 3, "budget": 60, "anchor": 6, "minibatch": 2, "max_instruction_tokens": 120}


@pytest.fixture(scope="module")
def problems():
    return list(math.problems(math.MathOptions(difficulty=1), "train", 14, 0))


def run(mini, problems, folder, reflector=None, population=None, *, seed=0, journal=None, spend_limit=0.0,
        known=(), ancestors=(), **changes):  # fmt: skip
    folder.mkdir(exist_ok=True)
    carried = Carried(population or seed_population(math.SEED_PROMPT), ancestors, known)
    return evolve(
        mini, TransformersEngine(mini), problems, carried, reflector or HeuristicReflector(),
        EvolveSettings(**SETTINGS | changes), Sampling(max_tokens=16), seed, 0, folder, journal=journal,
        spend_limit=spend_limit,
    )  # fmt: skip


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
    [(lambda traces: "word " * 500, "tokens, over 120"), (lambda traces: f"E.g. {traces[0].problem.messages[0].content}", "copies from a problem")],
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


def proposals_of(folder):
    return list(jsonl.read(folder / "proposals.jsonl", Proposal))


@pytest.mark.parametrize("acceptance", ["strict", "ties", "ties-while-zero"])
def test_the_gate_lets_ties_pass_as_it_is_asked(mini, problems, tmp_path, acceptance):
    number = iter(range(1000))
    reflector = Scripted(lambda call, parent, traces: Edit(f"Say it {next(number)} times.", "edited"))
    run(mini, problems, tmp_path, reflector, evolve="instruction", acceptance=acceptance, budget=120)
    passed = {
        "strict": lambda before, after: after > before,
        "ties": lambda before, after: after >= before,
        "ties-while-zero": lambda before, after: after > before or before == after == 0,
    }[acceptance]
    judged = [p for p in proposals_of(tmp_path) if p.child_reward is not None]
    assert judged and all((p.outcome == "accepted") == passed(p.parent_reward, p.child_reward) for p in judged)


@pytest.mark.parametrize("selection", ["pareto", "current-best", "epsilon-greedy", "top-k-pareto"])
def test_every_way_to_choose_a_parent_runs(mini, problems, tmp_path, selection):
    assert run(mini, problems, tmp_path, candidate_selection=selection).figures["proposals"] > 0


def test_proposals_side_by_side_are_reflected_on_at_once_and_scored_in_one_call(mini, problems, tmp_path, monkeypatch):
    together, sizes = threading.Barrier(3, timeout=60), []

    def act(call, parent, traces):
        together.wait()  # passes only when three reflections are under way
        return Edit(f"Edit {derive(*[t.rollout.id for t in traces])}.", "edited")

    def counted(policy, engine, slots, *rest):
        sizes.append(len(slots))
        return collect(policy, engine, slots, *rest)

    monkeypatch.setattr("fst_cli.fast.adapter.collect", counted)
    figures = run(mini, problems, tmp_path, Scripted(act), evolve="instruction", proposals=3, budget=90).figures
    assert figures["proposals"] % 3 == 0 and figures["metric_calls"] <= 90
    assert sizes[1] == 3 * 2 and {p.outcome for p in proposals_of(tmp_path)} <= {"accepted", "rejected", "duplicate"}


@pytest.mark.parametrize(
    "plain", [pytest.param(2, marks=pytest.mark.long), 0]
)  # at 0 the ancestor has no reward, which gepa's own merge stumbles over
def test_merges_join_an_instruction_and_examples_and_are_recorded(mini, problems, tmp_path, monkeypatch, plain):
    number = {problem.id: i for i, problem in enumerate(problems)}

    def rewarded(*args):
        """Some problems want the seed prompt, some the magic word alone, some an example alone: gepa joins kinds."""
        found, rollouts = collect(*args), []
        for rollout, slot in zip(found.rollouts, args[2], strict=True):
            has = ("magic" in slot.prompt.instruction, bool(slot.prompt.examples))
            place = number[slot.problem.id] % 8
            good = has == ((False, False) if place < plain else (True, False) if place < 5 else (False, True))
            rollouts.append(rollout.model_copy(update={"score": rollout.score.model_copy(update={"reward": good})}))
        return replace(found, rollouts=rollouts)

    monkeypatch.setattr("fst_cli.fast.adapter.collect", rewarded)
    reflector = Scripted(lambda call, parent, traces: Edit(f"{parent.instruction} magic {call}", "magic"))
    evolved = run(mini, problems, tmp_path, reflector, merge=True, budget=400, anchor=8, acceptance="ties", proposals=2)
    merges = [p for p in proposals_of(tmp_path) if p.reflector == "merge"]
    assert all(len(p.parents) == 2 and "magic" in p.instruction and p.examples for p in merges)
    assert len(merges) > 0 or plain == 0
    assert len({prompt.id for prompt in evolved.prompts}) == len(evolved.prompts) == 3


def test_carried_scores_are_made_anew_or_kept_as_asked(mini, problems, tmp_path):
    stale = {problem.id: 1.0 for problem in problems[:5]}
    members = [scored(make_prompt("One."), stale), make_prompt("Two.")]
    anew = run(mini, problems, tmp_path / "a", population=members)
    kept = run(mini, problems, tmp_path / "b", population=members, carried_scores="stale")
    assert anew.figures["rescoring_calls"] == 12 and kept.figures["rescoring_calls"] == 1 + 6
    assert anew.figures["anchor_mean_before"] < 5 / 6 <= kept.figures["anchor_mean_before"]


def test_rescoring_can_be_part_of_the_budget(mini, problems, tmp_path, capfd):
    members = [make_prompt(text) for text in ("One.", "Two.", "Three.")]
    figures = run(mini, problems, tmp_path / "a", population=members, rescoring_in_budget=True, budget=40).figures
    assert 18 < figures["metric_calls"] <= 40 and figures["rescoring_calls"] == 18
    assert "of these, 3 carried prompts scored on 6 anchor problems: 18 calls" in capfd.readouterr().err
    with pytest.raises(UsageError, match="after 18 for re-scoring"):
        run(mini, problems, tmp_path / "b", population=members, rescoring_in_budget=True, budget=27)


def test_a_cached_evaluation_costs_nothing_and_other_weights_never_match(mini, problems, tmp_path):
    plain = run(mini, problems, tmp_path / "plain")
    cached = run(mini, problems, tmp_path / "cached", cache=True)
    pairs = [(r.prompt_id, r.problem_id) for r in jsonl.read(tmp_path / "cached/evaluations.jsonl", Rollout)]
    assert len(pairs) == len(set(pairs)) == cached.figures["metric_calls"] + cached.figures["rescoring_calls"]
    assert cached.figures["proposals"] >= plain.figures["proposals"]
    known = load_kept(tmp_path / "plain/evaluations.jsonl")
    again = run(mini, problems, tmp_path / "again", known=known)
    assert again.figures["rescoring_calls"] == 0
    others = [(rollout.model_copy(update={"policy": "other"}), tokens) for rollout, tokens in known]
    assert run(mini, problems, tmp_path / "other", known=others).figures["rescoring_calls"] == 6


def test_reflection_stops_at_the_spend_limit(mini, problems, tmp_path):
    reflector = Scripted(lambda call, parent, traces: Edit(f"Edit {call}.", "edited", usage=Usage(10, 5, 0.4)))
    figures = run(mini, problems, tmp_path, reflector, evolve="instruction", budget=400, spend_limit=1.0).figures
    assert figures["reflection_cost"] == pytest.approx(1.2) and figures["proposals"] == 3
    assert (figures["reflection_input_tokens"], figures["reflection_output_tokens"]) == (30, 15)


def test_time_is_told_by_part(mini, problems, tmp_path):
    figures = run(mini, problems, tmp_path).figures
    assert all(figures[f"seconds_{part}"] > 0 for part in ("rescoring", "minibatch", "reflection"))


def test_ancestors_are_kept_across_cycles(mini, problems, tmp_path):
    first = run(mini, problems, tmp_path / "1", budget=120)
    second = run(
        mini, problems, tmp_path / "2", population=first.prompts, ancestors=first.ancestors, budget=120, seed=1
    )
    known = {prompt.id: prompt for prompt in [*second.ancestors, *second.prompts]}
    seed = make_prompt(math.SEED_PROMPT).id
    for prompt in second.prompts:
        while prompt.parents:
            prompt = known[prompt.parents[0]]
        assert prompt.id == seed


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("calls", [1, 2, 4, 7])
def test_a_killed_evolution_goes_on_to_the_same_result_and_pays_for_nothing_twice(
    mini, problems, tmp_path, monkeypatch, calls
):
    whole = run(mini, problems, tmp_path / "whole", budget=90)
    count = iter(range(1000))

    def dying(*args):
        if next(count) == calls:
            raise Killed
        return collect(*args)

    monkeypatch.setattr("fst_cli.fast.adapter.collect", dying)
    with pytest.raises(Killed):
        run(mini, problems, tmp_path / "a", budget=90, journal=Journal(tmp_path / "journal", {"a": 1}))
    sampled = []
    monkeypatch.setattr("fst_cli.fast.adapter.collect", lambda *args: sampled.extend(args[2]) or collect(*args))
    journal = Journal(tmp_path / "journal", {"a": 1})
    resumed = run(mini, problems, tmp_path / "b", budget=90, journal=journal)
    assert resumed.prompts == whole.prompts and resumed.ancestors == whole.ancestors
    for name in ("proposals.jsonl", "evaluations.jsonl", "evaluations.safetensors"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    total = len(list(jsonl.read(tmp_path / "b/evaluations.jsonl", Rollout)))
    assert journal.replayed >= calls and len(sampled) < total
    journal.close()
    assert not (tmp_path / "journal").exists()


def test_a_journal_of_another_evolution_is_thrown_away(tmp_path):
    journal = Journal(tmp_path / "j", {"seed": 0})
    assert journal.reply(0, ["x"], lambda: {"a": 1}) == {"a": 1}
    same, other = Journal(tmp_path / "j", {"seed": 0}), None
    assert same.reply(0, ["x"], lambda: {"a": 2}) == {"a": 1} and same.reply(0, ["y"], lambda: {"a": 2}) == {"a": 2}
    other = Journal(tmp_path / "j", {"seed": 1})
    assert other.reply(0, ["x"], lambda: {"a": 3}) == {"a": 3}


def test_a_budget_without_a_proposal_and_an_anchor_without_problems_are_refused(mini, problems, tmp_path):
    with pytest.raises(UsageError, match="affords no proposal"):
        run(mini, problems, tmp_path / "a", budget=9)
    with pytest.raises(UsageError, match="anchor set of 15"):
        run(mini, problems, tmp_path / "b", anchor=15)


@pytest.mark.parametrize(
    "text",
    [
        "答えは必ず箱に入れてください。",
        "Mets la réponse dans \\boxed{} — toujours.",
        "ضع الجواب في المربع",
        "🙂 {x} <b>",
    ],
)
def test_prompts_in_any_language_and_with_any_sign_come_through(mini, problems, tmp_path, text):
    reflector = Scripted(lambda call, parent, traces: Edit(f"{text} {call}", "übersetzt"))
    evolved = run(mini, problems, tmp_path, reflector, evolve="instruction", acceptance="ties", budget=40)
    assert any(p.instruction == f"{text} 1" and p.outcome == "accepted" for p in proposals_of(tmp_path))
    assert any(prompt.instruction.startswith(text) for prompt in evolved.prompts)


@pytest.mark.slow  # three processes
def test_kill_9_in_the_middle_of_the_command_and_the_same_command_again(tmp_path):
    def command(out):
        options = ["--budget", "200", "--anchor", "16", "--max-tokens", "24", "-o", out]
        return [sys.executable, "-m", "fst_cli", "evolve-prompts", "problems.jsonl", *options]

    jsonl.write(tmp_path / "problems.jsonl", list(math.problems(math.MathOptions(difficulty=1), "train", 40, 0)))
    subprocess.run(command("whole.jsonl"), cwd=tmp_path, check=True)
    process = subprocess.Popen(command("killed.jsonl"), cwd=tmp_path)
    journal, deadline = tmp_path / "killed-evolve.partial", time.monotonic() + 120
    while len(list(journal.glob("call-*.jsonl"))) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed.jsonl").exists() and not (tmp_path / "killed-evolve").exists()
    done = subprocess.run(command("killed.jsonl"), cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "going on with the evolution that was stopped" in done.stderr and not journal.exists()
    for name in (".jsonl", ".lineage.jsonl", "-evolve/proposals.jsonl", "-evolve/evaluations.safetensors"):
        assert (tmp_path / f"killed{name}").read_bytes() == (tmp_path / f"whole{name}").read_bytes()
