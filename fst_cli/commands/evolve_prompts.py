"""`fst evolve-prompts`: the fast loop."""

from pathlib import Path
from typing import Annotated

import typer

from fst_cli.commands.options import (
    Cycle,
    MaxBatch,
    MaxTokens,
    Model,
    Out,
    Problems,
    Prompts,
    Seed,
    Temperature,
    Weights,
)


def evolve_prompts(
    problems: Problems,
    out: Out,
    model: Model = "mini",
    weights: Weights = None,
    prompts: Prompts = None,
    k: Annotated[int, typer.Option("-K", "--k", min=1, help="Size of the new population.")] = 4,
    budget: Annotated[int, typer.Option(min=1, help="Metric calls (one sample of one problem each).")] = 300,
    anchor: Annotated[
        int | None, typer.Option(min=1, help="Anchor problems, the first ones; half of them by default.")
    ] = None,
    minibatch: Annotated[int, typer.Option(min=1, help="Problems that a proposal reflects on.")] = 6,
    reflector: Annotated[
        str, typer.Option(help="heuristic (no language model), local (the base model), or openai:MODEL.")
    ] = "heuristic",
    reflector_base_url: Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible server.")] = None,
    evolve: Annotated[str, typer.Option(help="What may change: instruction, examples or both.")] = "both",
    max_examples: Annotated[int, typer.Option(min=0, help="Most worked examples in a prompt.")] = 2,
    max_instruction_tokens: Annotated[int, typer.Option(min=1, help="Longest instruction.")] = 256,
    evidence: Annotated[
        Path | None, typer.Option(help="Folder for proposals, evaluations and gepa's state; NAME-evolve by default.")
    ] = None,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 128,
    max_batch: MaxBatch = 64,
    seed: Seed = 0,
    cycle: Cycle = 0,
) -> None:
    """Evolve a population of prompts against frozen weights, with gepa.

    The heuristic reflector knows no language: it answers the most frequent failure with a sentence from the task's
    list, swaps, drops or crosses sentences, and adds, swaps or drops worked examples.

    Example: fst evolve-prompts problems.jsonl --model mini --prompts seed.jsonl -K 4 --budget 300 -o prompts.jsonl
    """
    from functools import partial

    from fst_cli.data.records import Sampling
    from fst_cli.fast.evolve import EvolveSettings
    from fst_cli.policy.model import load_policy
    from fst_cli.stages.evolve import evolve_stage, make_reflector
    from fst_cli.stages.inputs import count_problems, one_of

    settings = EvolveSettings(
        k=k,
        budget=budget,
        anchor=anchor or max(1, count_problems(problems) // 2),
        minibatch=minibatch,
        evolve=one_of("--evolve", evolve, ["instruction", "examples", "both"]),
        max_examples=max_examples,
        max_instruction_tokens=max_instruction_tokens,
        sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
        seed=seed,
        cycle=cycle,
    )
    evolve_stage(
        partial(load_policy, model, weights),
        problems,
        prompts,
        out,
        settings=settings,
        reflector=make_reflector(reflector, reflector_base_url, model),
        max_batch=max_batch,
        evidence=evidence,
    )
