"""The fast loop: evolve a population of prompts against a frozen policy with gepa (PAPER section 3).

gepa's `optimize` starts from one candidate. Here its state is seeded with the whole carried population, each member
re-scored on the anchor set under the current weights, and saved for gepa to resume from. Minibatches come from the
problems outside the anchor set, or from all of them where the anchor is everything.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fst_cli.console import progress, say, warn
from fst_cli.data import jsonl, tensors
from fst_cli.data.records import Problem, Prompt, Sampling
from fst_cli.data.seeds import derive
from fst_cli.engines.base import Engine
from fst_cli.fast.adapter import Kept, PromptAdapter, cache_key
from fst_cli.fast.budget import Stop, budget_line, check_budget, unscored
from fst_cli.fast.examples import worked_examples
from fst_cli.fast.journal import Journal
from fst_cli.fast.lineage import ancestors
from fst_cli.fast.population import from_candidate, scored, select, to_candidate
from fst_cli.fast.proposer import Proposer
from fst_cli.fast.reflectors.base import Reflector
from fst_cli.fast.settings import EvolveSettings
from fst_cli.policy.model import Policy


@dataclass(frozen=True)
class Carried:
    """What an evolution begins with: the population, its ancestors, and evaluations that are known already."""

    population: Sequence[Prompt]
    ancestors: Sequence[Prompt] = ()
    known: Sequence[Kept] = ()


@dataclass(frozen=True)
class Evolved:
    """The new population, lead prompt first, all its ancestors, and what it cost."""

    prompts: list[Prompt]
    ancestors: list[Prompt]
    figures: dict[str, Any]


class TiesPassAtZero:
    """Accept a child that beats its parent on the minibatch; while the parent has nothing, a tie passes too.

    gepa's strict gate hardly opens where all rewards are 0 (PAPER section 3, open).
    """

    def should_accept(self, proposal: Any, state: Any) -> bool:
        """Whether the child goes on to the anchor set."""
        before, after = sum(proposal.subsample_scores_before), sum(proposal.subsample_scores_after)
        return after > before or (before == 0 and after == 0)


ACCEPTANCE: dict[str, Any] = {
    "strict": "strict_improvement",
    "ties": "improvement_or_equal",
    "ties-while-zero": TiesPassAtZero(),
}


def evolve(
    policy: Policy,
    engine: Engine,
    problems: Sequence[Problem],
    carried: Carried,
    reflector: Reflector,
    settings: EvolveSettings,
    sampling: Sampling,
    seed: int,
    cycle: int,
    folder: Path,
    *,
    journal: Journal | None = None,
    spend_limit: float = 0.0,
) -> Evolved:
    """Evolve a population on `problems`; gepa's state, proposals and evaluations are left in `folder`.

    Raises UsageError where the budget affords no proposal or the anchor set is larger than the problems, and the
    reflector's RunError where it fails for good.
    """
    from gepa.strategies.proposal_sampling import IndependentSampling

    members = list({prompt.id: prompt for prompt in carried.population}.values())
    check_budget(settings, problems, members)
    anchor, feedback = _split(problems, settings)
    say(budget_line(settings, anchor, members))
    journal = journal or Journal(None, {})
    address = (seed, "evolve", cycle)
    adapter = PromptAdapter(policy, engine, sampling, address, anchor, journal, _cache(settings, carried, policy))
    proposer = _proposer(policy, problems, feedback, reflector, settings, sampling, address, cycle, journal)
    proposer.join(members)
    adapter.watch = proposer.watch
    with progress("evolving prompts", settings.budget) as advance:
        rescoring = _seed_state(folder, members, adapter, proposer, settings)
        adapter.advance = advance
        result = _optimize(
            seed_candidate=to_candidate(members[0]),
            trainset=feedback,
            valset=anchor,
            adapter=adapter,
            run_dir=str(folder),
            seed=derive(*address, "gepa") % 2**32,
            candidate_selection_strategy=settings.candidate_selection.replace("-", "_"),
            reflection_minibatch_size=min(settings.minibatch, len(feedback)),
            acceptance_criterion=ACCEPTANCE[settings.acceptance],
            module_selector=_Components(settings.evolve),
            use_merge=settings.merge,
            merge_val_overlap_floor=min(5, len(anchor)),
            val_evaluation_policy=_anchor_policy(),
            sampling_strategy=IndependentSampling(settings.proposals),
            selection_strategy=proposer,
            reflection_strategy=proposer,
            stop_callbacks=[Stop(settings, proposer, spend_limit)],
            callbacks=[proposer],
            logger=_Log(folder / "gepa.log"),
            track_best_outputs=False,
        )
    if proposer.fatal:
        raise proposer.fatal
    pool: dict[str, Prompt] = {}
    for candidate, scores in zip(result.candidates, result.val_subscores, strict=True):
        prompt = scored(proposer.known[from_candidate(candidate).id], {anchor[i].id: s for i, s in scores.items()})
        pool.setdefault(prompt.id, prompt)
    _write_evidence(folder, adapter, proposer)
    prompts = select(list(pool.values()), settings.k)
    known = [*carried.ancestors, *carried.population, *proposer.known.values()]
    figures = _figures(settings, members, list(pool.values()), adapter, proposer, rescoring, result.total_metric_calls)
    return Evolved(prompts, ancestors(prompts, known), figures)


def _optimize(**arguments: Any) -> Any:
    """gepa's `optimize`, called again where its merge fails: it weighs common ancestors by scores that may all be 0.

    gepa goes on from the state it saved before the round.
    """
    import gepa

    while True:
        try:
            return gepa.optimize(**arguments)
        except ValueError as error:
            if not arguments["use_merge"] or "Total of weights" not in str(error):
                raise


def _seed_state(
    folder: Path, members: Sequence[Prompt], adapter: PromptAdapter, proposer: Proposer, settings: EvolveSettings
) -> int:
    """gepa's state with the whole population in it, scored on the anchor set, saved for `optimize` to resume from.

    Returns the metric calls that scoring took: none for the stale scores that were kept.
    """
    from gepa.core.state import GEPAState, ValsetEvaluation

    anchor = adapter.anchor
    missing = [unscored(settings, anchor, prompt) for prompt in members]
    batches = adapter.batch_evaluate(
        [(to_candidate(prompt), todo) for prompt, todo in zip(members, missing, strict=True)]
    )
    adapter.seconds["rescoring"] = sum(adapter.seconds.pop(part, 0.0) for part in ("anchor", "minibatch"))
    calls = sum(batch.num_metric_calls or 0 for batch in batches)
    evaluations = []
    for prompt, todo, batch in zip(members, missing, batches, strict=True):
        fresh = dict(zip([problem.id for problem in todo], batch.scores, strict=True))
        by_id = {p.id: fresh[p.id] if p.id in fresh else prompt.scores[p.id] for p in anchor}
        proposer.known[prompt.id] = scored(prompt, by_id)
        numbered = dict(enumerate(by_id.values()))
        evaluations.append(ValsetEvaluation(outputs_by_val_id=dict.fromkeys(numbered), scores_by_val_id=numbered))
    state: Any = GEPAState(to_candidate(members[0]), evaluations[0])
    state.num_full_ds_evals = len(members)
    state.total_num_evals = calls if settings.rescoring_in_budget else 0
    for prompt, evaluation in zip(members[1:], evaluations[1:], strict=True):
        state.full_program_trace.append({})
        state.update_state_with_new_program([], to_candidate(prompt), evaluation, None, 0)
    state.save(str(folder))
    return calls


def _figures(
    settings: EvolveSettings,
    members: Sequence[Prompt],
    pool: Sequence[Prompt],
    adapter: PromptAdapter,
    proposer: Proposer,
    rescoring: int,
    calls: int,
) -> dict[str, Any]:
    """What was tried, what became of it, and what it took, flat."""
    outcomes = Counter(proposal.outcome for proposal in proposer.proposals)
    means = [prompt.mean or 0.0 for prompt in pool]
    return {
        "pool": len(pool),
        "metric_calls": calls,
        "budget": settings.budget,
        "rescoring_calls": rescoring,
        "proposals": len(proposer.proposals),
        **{f"proposals_{name}": outcomes[name] for name in ("accepted", "rejected", "duplicate", "failed")},
        "generated_tokens": sum(int(tokens.sampled.sum()) for _, tokens in adapter.collected),
        **{f"reflection_{name}": value for name, value in vars(proposer.usage).items()},
        **{f"seconds_{part}": round(seconds, 3) for part, seconds in sorted(adapter.seconds.items())},
        "seconds_reflection": round(proposer.seconds, 3),
        "anchor_mean_before": max(means[: len(members)]),
        "anchor_mean_after": max(means),
    }


def _cache(settings: EvolveSettings, carried: Carried, policy: Policy) -> dict | None:
    """Evaluations by what they depend on; those of other weights never match."""
    if not settings.cache and not carried.known:
        return None
    return {cache_key(r.policy, r.prompt_id, r.problem_id, r.sampling): (r, tokens) for r, tokens in carried.known}


def _split(problems: Sequence[Problem], settings: EvolveSettings) -> tuple[list[Problem], list[Problem]]:
    """The anchor set and the problems that minibatches are drawn from."""
    anchor, rest = list(problems[: settings.anchor]), list(problems[settings.anchor :])
    if not rest and settings.evolve != "instruction":
        warn("all problems are in the anchor set, so there are none to take worked examples from")
    return anchor, rest or anchor


def _proposer(
    policy: Policy,
    problems: Sequence[Problem],
    feedback: list[Problem],
    reflector: Reflector,
    settings: EvolveSettings,
    sampling: Sampling,
    address: tuple,
    cycle: int,
    journal: Journal,
) -> Proposer:
    outside = feedback if len(problems) > settings.anchor else []
    return Proposer(
        policy=policy,
        reflector=reflector,
        settings=settings,
        room=policy.context - sampling.max_tokens,
        address=address,
        cycle=cycle,
        problems=problems,
        example_pool=worked_examples(outside),
        example_sources={problem.id for problem in outside},
        journal=journal,
    )


def _write_evidence(folder: Path, adapter: PromptAdapter, proposer: Proposer) -> None:
    """Every proposal, and every evaluation with its tokens, so that RL can reuse them (PAPER section 3)."""
    jsonl.write(folder / "proposals.jsonl", proposer.proposals)
    tensors.write(tensors.beside(folder / "evaluations.jsonl"), [tokens for _, tokens in adapter.collected])
    rollouts = (rollout.model_copy(update={"row": row}) for row, (rollout, _) in enumerate(adapter.collected))
    jsonl.write(folder / "evaluations.jsonl", rollouts)


class _Components:
    """Which component to edit: gepa's round robin, or always the one asked for."""

    def __init__(self, evolve: str) -> None:
        from gepa.strategies.component_selector import RoundRobinReflectionComponentSelector

        self._evolve = evolve
        self._round_robin = RoundRobinReflectionComponentSelector()

    def __call__(self, *args: Any) -> list[str]:
        return self._round_robin(*args) if self._evolve == "both" else [self._evolve]


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
