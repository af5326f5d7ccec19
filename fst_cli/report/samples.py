"""What is there to read: rollouts from the beginning, middle and end of a run, and its last population of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fst_cli.data import jsonl
from fst_cli.data.records import Message, Problem, Prompt, Rollout
from fst_cli.data.text import cut
from fst_cli.fast.diff import Kind, word_diff
from fst_cli.measure.history import Arm, History
from fst_cli.report.population import last_population

STEPS = 3  # first, middle, last
OF_A_KIND = 4  # right and wrong rollouts of a step


@dataclass(frozen=True)
class ShownRollout:
    """A rollout and the problem it answers."""

    rollout: Rollout
    messages: list[Message]
    text: str


@dataclass(frozen=True)
class ShownStep:
    """Some rollouts of one RL step."""

    cycle: int
    step: int
    update: int
    of: int  # rollouts of the step in all
    rollouts: list[ShownRollout]


@dataclass(frozen=True)
class ShownRun:
    """Some rollouts of a run."""

    arm: str
    seed: int
    steps: list[ShownStep]


@dataclass(frozen=True)
class ShownPrompt:
    """A member of a population, and what was changed on the way to it."""

    prompt: Prompt
    copies: int
    parent: str | None
    to_parent: list[tuple[Kind, str]]
    to_seed: list[tuple[Kind, str]]  # empty where the parent is the seed prompt


@dataclass(frozen=True)
class ShownPopulation:
    """The last population of an arm's first run."""

    arm: str
    seed: int
    cycle: int
    prompts: list[ShownPrompt]


def sampled_runs(arms: Sequence[Arm]) -> list[ShownRun]:
    """Rollouts of every run that has made a step; the same ones each time."""
    runs = [ShownRun(arm.name, run.seed, _steps(run)) for arm in arms for run in arm.runs]
    return [run for run in runs if run.steps]


def populations(arms: Sequence[Arm]) -> list[ShownPopulation]:
    """Of every arm that has evolved prompts, its first run's last."""
    return [found for arm in arms if (found := _population(arm))]


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` places among `count`, evenly from the first to the last."""
    if count <= wanted:
        return list(range(count))
    return [round(place * (count - 1) / (wanted - 1)) for place in range(wanted)]


def _steps(run: History) -> list[ShownStep]:
    found = sorted(run.folder.glob("cycle-*/step-*/rollouts.jsonl"))
    return [_step(run, found[place].parent) for place in spread(len(found), STEPS)]


def _step(run: History, folder: Path) -> ShownStep:
    cycle, step = (int(name.split("-")[-1]) for name in folder.parts[-2:])
    rollouts = jsonl.read_all(folder / "rollouts.jsonl", Rollout)
    path = folder / "problems.jsonl"
    problems = {problem.id: problem for problem in jsonl.read(path, Problem)} if path.exists() else {}
    shown = [_shown(rollout, problems) for rollout in _chosen(rollouts)]
    return ShownStep(cycle, step, cycle * run.config["steps_per_cycle"] + step + 1, len(rollouts), shown)


def _chosen(rollouts: list[Rollout]) -> list[Rollout]:
    """Right and wrong ones from all over the file; where one kind is short, more of the other."""
    right = [place for place, rollout in enumerate(rollouts) if rollout.score.success]
    wrong = [place for place, rollout in enumerate(rollouts) if not rollout.score.success]
    kept = {
        kind[place]
        for kind, other in ((right, wrong), (wrong, right))
        for place in spread(len(kind), 2 * OF_A_KIND - min(OF_A_KIND, len(other)))
    }
    return [rollouts[place] for place in sorted(kept)]


def _shown(rollout: Rollout, problems: dict[str, Problem]) -> ShownRollout:
    problem = problems.get(rollout.problem_id)
    messages = [m.model_copy(update={"content": cut(m.content)}) for m in problem.messages] if problem else []
    return ShownRollout(rollout, messages, cut(rollout.text))


def _population(arm: Arm) -> ShownPopulation | None:
    run = arm.runs[0]
    if not (found := last_population(run)):
        return None
    members, before, cycle = found
    known = {prompt.id: prompt for prompt in [*before, *members]}
    path = run.folder / "seed.jsonl"
    seed = next(iter(jsonl.read(path, Prompt)), None) if path.exists() else None
    first = {member.id: member for member in reversed(members)}
    ranked = sorted(first.values(), key=members.index)
    copies = {name: sum(member.id == name for member in members) for name in first}
    shown = [_prompt(prompt, copies[prompt.id], known, seed) for prompt in ranked]
    return ShownPopulation(arm.name, run.seed, cycle, shown)


def _prompt(prompt: Prompt, copies: int, known: dict[str, Prompt], seed: Prompt | None) -> ShownPrompt:
    parent = next((known[name] for name in prompt.parents if name in known), None)
    new = cut(prompt.instruction)
    to_parent: list[tuple[Kind, str]] = word_diff(cut(parent.instruction), new) if parent else [("same", new)]
    apart = seed is not None and seed.id not in (prompt.id, parent.id if parent else None)
    to_seed = word_diff(cut(seed.instruction), new) if seed and apart else []
    return ShownPrompt(prompt, copies, parent.id if parent else None, to_parent, to_seed)
