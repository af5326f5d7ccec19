"""The eval stage: problems, prompts and weights -> eval.jsonl and a summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.data import jsonl
from fst_cli.data.errors import UsageError
from fst_cli.data.records import Evaluation, Prompt, Sampling
from fst_cli.data.stage import stage
from fst_cli.engines.registry import Engines
from fst_cli.measure.evaluate import evaluate, paired_difference, summarise
from fst_cli.policy.model import Policy
from fst_cli.stages.inputs import load_problems


@dataclass(frozen=True)
class Cell:
    """One combination to evaluate, for example `trained+evolved`; several prompts are a mixture."""

    name: str
    policy: Policy
    prompts: Sequence[Prompt]


def eval_stage(
    cells: Sequence[Cell],
    problems_path: Path | str,
    out: Path | str,
    *,
    samples: int,
    sampling: Sampling,
    seed: int,
    engines: Engines | None = None,
    limit: int | None = None,
    prompts_path: Path | None = None,
) -> dict[str, Any]:
    """Evaluate each cell on the same problems and draws; figures by cell name.

    Every cell but the first has its paired difference to the first. Raises UsageError where the prompts of a mixture do
    not divide the samples.
    """
    problems = load_problems(problems_path, limit)
    for cell in cells:
        if samples % len(cell.prompts):
            raise UsageError(f"{samples} samples can't be shared by {len(cell.prompts)} prompts", hint="see --samples")
    settings = {
        "cells": {
            cell.name: {"policy": cell.policy.hash, "prompt": "+".join(prompt.id for prompt in cell.prompts)}
            for cell in cells
        },
        "samples": samples,
        "sampling": sampling.model_dump(),
        "seed": seed,
    }
    records: list[Evaluation] = []
    first: list[Evaluation] = []
    figures: dict[str, Any] = {}
    weights = next((cell.policy.weights for cell in cells if cell.policy.weights), None)
    inputs = {"problems": problems_path, "prompts": prompts_path, "weights": weights}
    with stage("eval", out, inputs, settings) as kept:
        for cell in cells:
            engine = (engines or Engines()).of(cell.policy)
            found = evaluate(cell.policy, engine, problems, cell.prompts, samples, sampling, seed, cell.name)
            figures[cell.name] = summarise(found)
            if first:
                figures[cell.name]["difference_to_first"] = paired_difference(found, first).model_dump()
            first = first or found
            records += found
        jsonl.write(out, records)
        kept["figures"] = figures
    for name, figure in figures.items():
        mean = figure[f"success_mean@{samples}"]
        more = figure.get("difference_to_first")
        paired = f"; {more['mean']:+.3f} [{more['low']:+.3f}, {more['high']:+.3f}] to the first" if more else ""
        say(f"{name:>16}: success {mean['mean']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}], n={mean['n']}{paired}")
    return figures
