"""The fast loop: evolve a population of prompts against a frozen policy with gepa (PAPER section 3).

gepa's `optimize` starts from one candidate. Here its state is seeded with the whole carried population, each member
re-scored on the anchor set under the current weights (one engine call, counted apart from the budget), and saved for
gepa to resume from. Minibatches come from the problems outside the anchor set, or from all of them where the anchor
is everything.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fst_cli.console import progress, say, warn
from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import UsageError
from fst_cli.data.records import Problem, Prompt, Sampling
from fst_cli.data.seeds import derive
from fst_cli.engines.base import Engine
from fst_cli.fast.adapter import PromptAdapter
from fst_cli.fast.examples import worked_examples
from fst_cli.fast.population import from_candidate, scored, select, to_candidate
from fst_cli.fast.reflectors.base import Reflector
from fst_cli.policy.model import Policy

Evolve = Literal["instruction", "examples", "both"]


@dataclass(frozen=True)
class EvolveSettings:
    """Settings of one evolution; `budget` counts metric calls, one a (prompt, problem) sample."""

    k: int
    budget: int
    anchor: int
    minibatch: int
    evolve: Evolve
    max_examples: int
    max_instruction_tokens: int
    sampling: Sampling
    seed: int
    cycle: int


@dataclass(frozen=True)
class Evolved:
    """The new population, lead prompt first, and what it cost."""

    prompts: list[Prompt]
    figures: dict[str, Any]


class TiesPassAtZero:
    """Accept a child that beats its parent on the minibatch; while the parent has nothing, a tie passes too.

    gepa's strict gate hardly opens where all rewards are 0 (PAPER section 3, open).
    """

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Whether the child goes on to the anchor set."""
        before, after = sum(proposal.subsample_scores_before), sum(proposal.subsample_scores_after)
        return after > before or (before == 0 and after == 0)


def evolve(
    policy: Policy,
    engine: Engine,
    problems: Sequence[Problem],
    population: Sequence[Prompt],
    reflector: Reflector,
    settings: EvolveSettings,
    folder: Path,
) -> Evolved:
    """Evolve `population` on `problems`; gepa's state, proposals and evaluations are left in `folder`.

    Raises UsageError where the budget affords no proposal or the anchor set is larger than the problems.
    """
    import gepa

    check_budget(settings, problems)
    anchor, feedback = _split(problems, settings)
    say(budget_line(settings, len({prompt.id for prompt in population})))
    adapter = _adapter(policy, engine, feedback, reflector, settings, problems)
    started = time.perf_counter()
    with progress("evolving prompts", settings.budget) as advance:
        members = list({prompt.id: prompt for prompt in population}.values())
        batches = adapter.batch_evaluate([(to_candidate(prompt), anchor) for prompt in members])
        rescoring_seconds = time.perf_counter() - started
        _save_state(folder, members, batches)
        for prompt, batch in zip(members, batches, strict=True):
            by_id = {problem.id: score for problem, score in zip(anchor, batch.scores, strict=True)}
            adapter.known[prompt.id] = scored(prompt, by_id)
        adapter.advance = advance
        result = gepa.optimize(
            seed_candidate=to_candidate(members[0]),
            trainset=feedback,
            valset=anchor,
            adapter=adapter,
            run_dir=str(folder),
            seed=derive(*adapter.address, "gepa") % 2**32,
            reflection_minibatch_size=min(settings.minibatch, len(feedback)),
            acceptance_criterion=TiesPassAtZero(),
            module_selector=_Components(settings.evolve),
            val_evaluation_policy=_anchor_policy(),
            stop_callbacks=[_Budget(settings, len(anchor), adapter)],
            callbacks=[adapter],
            logger=_Log(folder / "gepa.log"),
            track_best_outputs=False,
        )
    if adapter.fatal:
        raise adapter.fatal
    pool = [
        scored(adapter.known[from_candidate(c).id], {anchor[i].id: score for i, score in s.items()})
        for c, s in zip(result.candidates, result.val_subscores, strict=True)
    ]
    _write_evidence(folder, adapter)
    figures = {
        "pool": len(pool),
        "metric_calls": result.total_metric_calls,
        "budget": settings.budget,
        "rescoring_calls": len(members) * len(anchor),
        "rescoring_seconds": round(rescoring_seconds, 3),
        "proposals": len(adapter.proposals),
        **{f"proposals_{name}": n for name, n in Counter(p.outcome for p in adapter.proposals).items()},
        "generated_tokens": sum(c.figures()["generated_tokens"] for c in adapter.collected),
        "anchor_mean_before": max(prompt.mean or 0.0 for prompt in pool[: len(members)]),
        "anchor_mean_after": max(prompt.mean or 0.0 for prompt in pool),
    }
    return Evolved(select(pool, settings.k), figures)


def _save_state(folder: Path, members: Sequence[Prompt], batches: Sequence[Any]) -> None:
    """gepa's state with the whole population in it, scored on the anchor set, for `optimize` to resume from."""
    from gepa.core.state import GEPAState, ValsetEvaluation

    evaluations = [
        ValsetEvaluation(outputs_by_val_id=dict(enumerate(b.outputs)), scores_by_val_id=dict(enumerate(b.scores)))
        for b in batches
    ]
    state: Any = GEPAState(to_candidate(members[0]), evaluations[0])
    state.num_full_ds_evals, state.total_num_evals = len(members), 0
    for prompt, evaluation in zip(members[1:], evaluations[1:], strict=True):
        state.full_program_trace.append({})
        state.update_state_with_new_program([], to_candidate(prompt), evaluation, None, 0)
    state.save(str(folder))


def check_budget(settings: EvolveSettings, problems: Sequence[Problem]) -> None:
    """Raise UsageError where the budget affords no proposal, or the anchor set is larger than the problems."""
    if settings.anchor > len(problems):
        raise UsageError(
            f"an anchor set of {settings.anchor} asked for, {len(problems)} problems given", hint="lower --anchor"
        )
    most = 2 * settings.minibatch + settings.anchor
    if settings.budget < most:
        raise UsageError(
            f"a budget of {settings.budget} metric calls affords no proposal: one costs up to {most}",
            hint="raise --budget, or lower --anchor or --minibatch",
        )


def budget_line(settings: EvolveSettings, members: int) -> str:
    """What the budget affords, before it is spent (PITFALLS 20)."""
    anchor = settings.anchor
    rejected = 2 * settings.minibatch
    accepted = rejected + anchor
    return (
        f"budget {settings.budget} metric calls: {settings.budget // accepted} proposals if all are accepted "
        f"({accepted} calls each), {(settings.budget - accepted) // rejected + 1} if all are rejected ({rejected} "
        f"each); besides, {members} carried prompt{'s' * (members > 1)} re-scored on {anchor} anchor problems: "
        f"{members * anchor} calls"
    )


def _split(problems: Sequence[Problem], settings: EvolveSettings) -> tuple[list[Problem], list[Problem]]:
    """The anchor set and the problems that minibatches are drawn from."""
    anchor, rest = list(problems[: settings.anchor]), list(problems[settings.anchor :])
    if not rest and settings.evolve != "instruction":
        warn("all problems are in the anchor set, so there are none to take worked examples from")
    return anchor, rest or anchor


def _adapter(
    policy: Policy,
    engine: Engine,
    feedback: list[Problem],
    reflector: Reflector,
    settings: EvolveSettings,
    problems: Sequence[Problem],
) -> PromptAdapter:
    outside = feedback if len(problems) > settings.anchor else []
    by_length = sorted(problems, key=lambda problem: sum(len(message.content) for message in problem.messages))
    return PromptAdapter(
        policy=policy,
        engine=engine,
        sampling=settings.sampling,
        reflector=reflector,
        example_pool=worked_examples(outside),
        max_examples=settings.max_examples,
        max_instruction_tokens=settings.max_instruction_tokens,
        longest=by_length[-1:],
        address=(settings.seed, "evolve", settings.cycle),
        cycle=settings.cycle,
        feedback_ids={problem.id for problem in outside},
    )


def _write_evidence(folder: Path, adapter: PromptAdapter) -> None:
    """Every proposal, and every evaluation with its tokens, so that RL can reuse them (PAPER section 3)."""
    jsonl.write(folder / "proposals.jsonl", adapter.proposals)
    rollouts = [rollout for found in adapter.collected for rollout in found.rollouts]
    tokens = [row for found in adapter.collected for row in found.tokens]
    tensors.write(tensors.beside(folder / "evaluations.jsonl"), tokens)
    jsonl.write(
        folder / "evaluations.jsonl",
        (rollout.model_copy(update={"row": row}) for row, rollout in enumerate(rollouts)),
    )


class _Components:
    """Which component to edit: gepa's round robin, or always the one asked for."""

    def __init__(self, evolve: Evolve) -> None:
        from gepa.strategies.component_selector import RoundRobinReflectionComponentSelector

        self._evolve = evolve
        self._round_robin = RoundRobinReflectionComponentSelector()

    def __call__(self, *args: Any) -> list[str]:
        return self._round_robin(*args) if self._evolve == "both" else [self._evolve]


class _Budget:
    """Stop when the next proposal could overspend, or when the run itself failed."""

    def __init__(self, settings: EvolveSettings, anchor: int, adapter: PromptAdapter) -> None:
        self._most = settings.budget - 2 * settings.minibatch - anchor
        self._adapter = adapter

    def __call__(self, state: Any) -> bool:
        return self._adapter.fatal is not None or state.total_num_evals > self._most


class _Log:
    """gepa's own log, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def log(self, message: str) -> None:
        with self._path.open("a") as stream:
            stream.write(f"{message}\n")


def _anchor_policy() -> Any:
    """Every child is scored on the whole anchor set; the first prompt already is, so gepa does not score it again."""
    from gepa.strategies.eval_policy import FullEvaluationPolicy

    class AnchorPolicy(FullEvaluationPolicy):
        def get_seed_eval_batch(self, loader: Any) -> list[int]:
            return []

    return AnchorPolicy()
