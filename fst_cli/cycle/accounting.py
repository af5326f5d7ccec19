"""What stages cost: rollouts that were sampled, tokens, reflections and seconds, each loop's apart.

So that RL and FST can be compared at equal compute as well as at equal steps. Evaluations are not counted.
"""

from pathlib import Path
from typing import Any

from fst_cli.data.files import read_json
from fst_cli.data.stage import is_complete, read_stage

Cost = dict[str, float]


def add_cost(cost: Cost, output: Path) -> None:
    """Add what the complete stage that wrote `output` cost."""
    record = read_stage(output)
    figures = record.figures
    spent = {"runs": 1, "seconds": record.seconds, "generated_tokens": figures.get("generated_tokens", 0)}
    if record.command == "evolve-prompts":
        tokens = figures["reflection_input_tokens"] + figures["reflection_output_tokens"]
        spent |= {"rollouts": figures["metric_calls"] + figures["rescoring_calls"], "reflections": figures["proposals"]}
        spent |= {"reflection_tokens": tokens, "reflection_cost": figures["reflection_cost"]}
    elif record.command == "rollout":
        spent["rollouts"] = figures["rollouts"] - figures["reused"]
    elif record.command == "train-step":
        spent["trained_tokens"] = read_json(output)["trained_tokens"]
    for name, value in spent.items():
        cost[name] = round(cost.get(name, 0) + value, 6)


class Account:
    """The running cost of both loops, stage by stage in the order of a run."""

    def __init__(self) -> None:
        self._spent: dict[str, Cost] = {"fast": {}, "slow": {}}

    def add(self, loop: str, *outputs: Path) -> None:
        """Add the stages that wrote these outputs, if they are complete."""
        for output in outputs:
            if is_complete(output):
                add_cost(self._spent[loop], output)

    def figures(self) -> dict[str, Any]:
        """Flat: `cost/slow/rollouts`, `cost/fast/reflections`, ... and of both together `cost/rollouts`."""
        found = {f"cost/{loop}/{name}": value for loop, cost in self._spent.items() for name, value in cost.items()}
        for name in ("rollouts", "generated_tokens", "seconds"):
            found[f"cost/{name}"] = round(sum(cost.get(name, 0) for cost in self._spent.values()), 6)
        return {name: value for name, value in found.items() if not name.endswith("/runs")}
