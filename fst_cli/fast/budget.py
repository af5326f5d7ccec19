"""The budget of an evolution: what it affords, said beforehand, and when to stop (PITFALLS 20)."""

from collections.abc import Sequence
from typing import Any

from fst_cli.data.errors import UsageError
from fst_cli.data.records import Problem, Prompt
from fst_cli.fast.settings import EvolveSettings


def rescoring_calls(settings: EvolveSettings, anchor: Sequence[Problem], members: Sequence[Prompt]) -> int:
    """Metric calls to score the carried prompts on the anchor set."""
    return sum(len(unscored(settings, anchor, prompt)) for prompt in members)


def unscored(settings: EvolveSettings, anchor: Sequence[Problem], prompt: Prompt) -> list[Problem]:
    """The anchor problems that a carried prompt is to be scored on: all, or those it brings no score for."""
    stale = settings.carried_scores == "stale"
    return [problem for problem in anchor if not (stale and problem.id in prompt.scores)]


def check_budget(settings: EvolveSettings, problems: Sequence[Problem], members: Sequence[Prompt]) -> None:
    """Raise UsageError where the budget affords no proposal, or the anchor set is larger than the problems."""
    if settings.anchor > len(problems):
        raise UsageError(
            f"an anchor set of {settings.anchor} asked for, {len(problems)} problems given", hint="lower --anchor"
        )
    first = rescoring_calls(settings, problems[: settings.anchor], members) if settings.rescoring_in_budget else 0
    if settings.budget < first + settings.most_per_round:
        before = f" after {first} for re-scoring" if first else ""
        raise UsageError(
            f"a budget of {settings.budget} metric calls affords no proposal{before}: {_round(settings)} costs up to "
            f"{settings.most_per_round}",
            hint="raise --budget, or lower --anchor, --minibatch or --proposals",
        )


def budget_line(settings: EvolveSettings, anchor: Sequence[Problem], members: Sequence[Prompt]) -> str:
    """What the budget affords, before it is spent."""
    first = rescoring_calls(settings, anchor, members)
    left = settings.budget - (first if settings.rescoring_in_budget else 0)
    rejected = 2 * settings.minibatch
    accepted = rejected + len(anchor)
    rounds = left // settings.most_per_round
    rounds_if_rejected = (left - settings.most_per_round) // (settings.proposals * rejected) + 1
    within = "of these" if settings.rescoring_in_budget else "besides"
    return (
        f"budget {settings.budget} metric calls: {rounds * settings.proposals} proposals if all are accepted "
        f"({accepted} calls each), {rounds_if_rejected * settings.proposals} if all are rejected ({rejected} each); "
        f"{within}, {len(members)} carried prompt{'s' * (len(members) > 1)} scored on {len(anchor)} anchor problems: "
        f"{first} calls"
    )


class Stop:
    """gepa's stopper: when the next round could overspend, at the spend limit, or when the run itself failed."""

    def __init__(self, settings: EvolveSettings, proposer: Any, spend_limit: float) -> None:
        self._most = settings.budget - settings.most_per_round
        self._proposer = proposer
        self._spend_limit = spend_limit

    def __call__(self, state: Any) -> bool:
        """Whether no further round may begin."""
        spent = self._spend_limit and self._proposer.usage.cost >= self._spend_limit
        return self._proposer.fatal is not None or bool(spent) or state.total_num_evals > self._most


def _round(settings: EvolveSettings) -> str:
    return "one" if settings.proposals == 1 else f"a round of {settings.proposals}"
