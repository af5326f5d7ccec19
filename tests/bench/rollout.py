"""Our engine against transformers.generate on the same requests: python tests/bench/rollout.py [MODEL]

8 problems x 8 samples under the task's seed prompt, 64 new tokens each at temperature 1, the stop token suppressed in
both so that both make the same number of tokens. Prints tokens per second and the ratio, each the best of three.
"""

import sys
import time

import torch

from fst_cli.data.records import Sampling
from fst_cli.engines.base import Request
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.policy.chat import render
from fst_cli.policy.model import Policy, load_policy
from fst_cli.tasks.registry import get_task, task_options

NEW = 64
policy = load_policy(sys.argv[1] if len(sys.argv) > 1 else "mini")
task = get_task("stargraph")
problems = list(task.problems(task_options(task, {"d": 5, "p": 4, "n": 50}), "test", 8, 0))
prompts = [
    render(policy.tokenizer, make_prompt(task.seed_prompt), p, policy.context) for p in problems for _ in range(8)
]


class Endless(Policy):
    """A policy that never stops early."""

    @property
    def stop_ids(self) -> set[int]:
        """None."""
        return set()


def ours() -> int:
    """Tokens made by our engine."""
    engine = TransformersEngine(Endless(**vars(policy)))
    done = engine.generate([Request(p, seed) for seed, p in enumerate(prompts)], Sampling(max_tokens=NEW))
    return sum(len(completion.ids) for completion in done)


def theirs() -> int:
    """Tokens made by transformers.generate, left-padded."""
    width = max(map(len, prompts))
    ids = torch.tensor([[policy.tokenizer.pad_token_id] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    options = {
        "do_sample": True,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_new_tokens": NEW,
        "max_new_tokens": NEW,
    }
    with torch.inference_mode():
        return policy.model.generate(ids, attention_mask=mask, **options)[:, width:].numel()


def best(run) -> float:
    """Tokens per second, the best of three."""
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        rates.append(run() / (time.perf_counter() - started))
    return max(rates)


mine, reference = best(ours), best(theirs)
lengths = f"{min(map(len, prompts))}-{max(map(len, prompts))} prompt tokens"
print(f"{policy.name}: 64 x {NEW} tokens, {lengths}")
print(f"ours {mine:.0f} tokens/s, transformers.generate {reference:.0f} tokens/s, ratio {mine / reference:.2f}")
