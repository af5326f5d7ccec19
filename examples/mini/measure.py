"""Measure what the mini does under each kind of prompt: success at temperature 1, with 95 % intervals.

    python examples/mini/measure.py [--model mini] [--count 400]

Prints a Markdown table, of test problems of the tasks at the demo recipe's difficulty. Held-out wording
never occurs in a training chat.
"""

import argparse
import sys

import sentences as S

from fst_cli.cycle.recipes import recipe
from fst_cli.data.records import Problem, Prompt, Sampling
from fst_cli.engines.collect import Slot, collect
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.examples import worked_examples
from fst_cli.fast.population import make_prompt
from fst_cli.measure.intervals import Estimate, bootstrap_mean
from fst_cli.policy.model import Policy, load_policy
from fst_cli.tasks.registry import get_task, task_options

GOOD = {"math": S.CAREFUL, "stargraph": S.TRACE, "codeio": S.CAREFUL}
HELD_OUT = {"math": "careful", "stargraph": "trace", "codeio": "careful"}


def prompts(family: str, seed_prompt: str, examples: list) -> dict[str, Prompt]:
    """The prompts to compare."""
    good = GOOD[family][0]
    held_out = f"{S.HELD_OUT['boxed'][0]} {S.HELD_OUT[HELD_OUT[family]][0]}"
    found = {
        "none": make_prompt(""),
        "seed prompt": make_prompt(seed_prompt),
        "good: box + procedure": make_prompt(f"{S.BOXED[0]} {good}"),
        "good, held-out wording": make_prompt(held_out),
    }
    if examples:
        found["two worked examples, no instruction"] = make_prompt("", examples[:2])
        found["good + two worked examples"] = make_prompt(f"{S.BOXED[0]} {good}", examples[:2])
    return found


def success(policy: Policy, family: str, problems: list[Problem], prompt: Prompt) -> Estimate:
    """Share of right answers, one sample a problem."""
    slots = [Slot(problem, prompt, 0) for problem in problems]
    found = collect(policy, TransformersEngine(policy), slots, Sampling(max_tokens=128), (0, "mini"), family)
    return bootstrap_mean([float(rollout.score.success) for rollout in found.rollouts])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=400)
    args = parser.parse_args()
    policy = load_policy(args.model)
    print("| family | prompt | success |\n|---|---|---|")
    for family in ("math", "stargraph", "codeio"):
        task = get_task(family)
        options = task_options(task, recipe("demo", family, "mini")["task_options"])
        problems = list(task.problems(options, "test", min(args.count, 120 if family == "stargraph" else 10**6), 1))
        examples = worked_examples(task.problems(options, "train", 2, 2))
        for name, prompt in prompts(family, task.seed_prompt, examples).items():
            found = success(policy, family, problems, prompt)
            print(f"| {family} | {name} | {found.mean:.1%} [{found.low:.1%}, {found.high:.1%}], n={found.n} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
