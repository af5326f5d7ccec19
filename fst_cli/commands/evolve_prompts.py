"""`fst evolve-prompts`: the fast loop."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fst_cli.commands.engine_options import with_engine
from fst_cli.commands.options import (
    Cycle,
    MaxTokens,
    Model,
    Out,
    Problems,
    Prompts,
    Seed,
    Temperature,
    Weights,
)


@with_engine
def evolve_prompts(
    *,
    engines: Any,
    problems: Problems,
    out: Out,
    model: Model = "mini",
    weights: Weights = None,
    prompts: Prompts = None,
    k: Annotated[int, typer.Option("-K", "--k", help="Size of the new population.")] = 4,
    budget: Annotated[int, typer.Option(help="Metric calls (one sample of one problem each).")] = 300,
    anchor: Annotated[int | None, typer.Option(help="Anchor problems, the first; half by default.")] = None,
    minibatch: Annotated[int, typer.Option(help="Problems that a proposal reflects on.")] = 6,
    recipe: Annotated[str, typer.Option(help="light: incremental edits; full: one prompt (-K 1), free rewrites.")] = (
        "light"
    ),
    evolve: Annotated[str, typer.Option(help="What may change: instruction, examples or both.")] = "both",
    max_examples: Annotated[int, typer.Option(help="Most worked examples in a prompt.")] = 2,
    max_instruction_tokens: Annotated[int, typer.Option(help="Longest instruction.")] = 256,
    acceptance: Annotated[
        str,
        typer.Option(help="A child goes on if better than its parent on the minibatch (strict), or as good (ties)."),
    ] = "ties-while-zero",
    candidate_selection: Annotated[
        str, typer.Option(help="Parents: pareto, current-best, epsilon-greedy or top-k-pareto.")
    ] = "pareto",
    proposals: Annotated[int, typer.Option(help="Proposals made side by side.")] = 1,
    merge: Annotated[bool, typer.Option("--merge", help="Also merge descendants of one prompt.")] = False,
    carried_scores: Annotated[
        str, typer.Option(help="rescore carried prompts, or keep the stale scores they bring for these problems.")
    ] = "rescore",
    rescoring_in_budget: Annotated[
        bool, typer.Option("--rescoring-in-budget", help="Count re-scoring in the budget.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Score a prompt on a problem once, not anew each time.")
    ] = False,
    known: Annotated[
        Path | None, typer.Option(help="An evaluations.jsonl: its scores of the same weights are not sampled again.")
    ] = None,
    reflector: Annotated[
        str, typer.Option(help="heuristic (no language model), local (the base model), or openai:MODEL.")
    ] = "heuristic",
    reflector_base_url: Annotated[str | None, typer.Option(help="Base URL of an OpenAI-compatible server.")] = None,
    reflector_timeout: Annotated[float, typer.Option(help="Seconds a reply may take.")] = 300.0,
    reflector_retries: Annotated[int, typer.Option(help="Attempts after the first, with growing pauses.")] = 4,
    reflector_tokens: Annotated[int, typer.Option(help="Longest reply of the reflector.")] = 4096,
    price_input: Annotated[float, typer.Option(help="Price of a million tokens the reflector reads.")] = 0.0,
    price_output: Annotated[float, typer.Option(help="Price of a million tokens the reflector writes.")] = 0.0,
    spend_limit: Annotated[float, typer.Option(help="Stop reflecting at this cost; 0 = no limit.")] = 0.0,
    evidence: Annotated[
        Path | None, typer.Option(help="Folder for proposals, evaluations and gepa's state; NAME-evolve by default.")
    ] = None,
    temperature: Temperature = 1.0,
    max_tokens: MaxTokens = 128,
    seed: Seed = 0,
    cycle: Cycle = 0,
) -> None:
    """Evolve a population of prompts against frozen weights, with gepa.

    The heuristic reflector knows no language: it answers the most frequent failure with a sentence from the task's
    list, swaps, drops or crosses sentences, and adds, swaps or drops worked examples. A stopped evolution goes on
    where it stopped when the same command is given again.

    Example: fst evolve-prompts problems.jsonl --model mini --prompts seed.jsonl -K 4 --budget 300 -o prompts.jsonl
    """
    from functools import partial

    from fst_cli.data.records import Sampling
    from fst_cli.fast.settings import EvolveSettings, ReflectorSettings
    from fst_cli.policy.model import load_policy
    from fst_cli.stages.evolve import evolve_stage, make_reflector
    from fst_cli.stages.inputs import count_problems, from_options

    settings = from_options(
        EvolveSettings,
        k=k,
        budget=budget,
        anchor=max(1, count_problems(problems) // 2) if anchor is None else anchor,
        minibatch=minibatch,
        recipe=recipe,
        evolve=evolve,
        max_examples=max_examples,
        max_instruction_tokens=max_instruction_tokens,
        acceptance=acceptance,
        candidate_selection=candidate_selection,
        proposals=proposals,
        merge=merge,
        carried_scores=carried_scores,
        rescoring_in_budget=rescoring_in_budget,
        cache=cache,
    )
    asked = from_options(
        ReflectorSettings,
        reflector=reflector,
        reflector_base_url=reflector_base_url,
        reflector_timeout=reflector_timeout,
        reflector_retries=reflector_retries,
        reflector_tokens=reflector_tokens,
        price_input=price_input,
        price_output=price_output,
        spend_limit=spend_limit,
    )
    evolve_stage(
        partial(load_policy, model, weights, lazy=engines.lazy),
        problems,
        prompts,
        out,
        settings=settings,
        sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
        seed=seed,
        cycle=cycle,
        reflector=make_reflector(asked, settings.recipe, model),
        engines=engines,
        evidence=evidence,
        known=known,
        spend_limit=spend_limit,
    )
