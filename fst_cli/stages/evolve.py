"""The evolve-prompts stage: problems.jsonl and a population -> the next population."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.data import jsonl
from fst_cli.data.errors import UsageError
from fst_cli.data.files import atomic_folder, stage
from fst_cli.engines.registry import make_engine
from fst_cli.fast.evolve import EvolveSettings, check_budget, evolve
from fst_cli.fast.reflectors.base import Reflector
from fst_cli.fast.reflectors.heuristic import HeuristicReflector
from fst_cli.policy.model import Policy, load_policy
from fst_cli.stages.inputs import load_problems, load_prompts

REFLECTION_TOKENS = 4096


def evolve_stage(
    load: Callable[[], Policy],
    problems_path: Path | str,
    prompts_path: Path | None,
    out: Path | str,
    *,
    settings: EvolveSettings,
    reflector: Reflector,
    max_batch: int = 64,
    evidence: Path | None = None,
) -> dict[str, Any]:
    """Evolve the population; proposals, evaluations and gepa's own state go to `evidence` (by default beside `out`)."""
    problems = load_problems(problems_path)
    prompts = load_prompts(prompts_path, problems)
    check_budget(settings, problems)
    policy = load()
    kept_settings = {
        "model": policy.name,
        "policy": policy.hash,
        "reflector": reflector.name,
        **{name: value for name, value in vars(settings).items() if name != "sampling"},
        "sampling": settings.sampling.model_dump(),
    }
    if evidence is None and str(out) != "-":
        evidence = Path(out).with_suffix("").parent / f"{Path(out).stem}-evolve"
    inputs = {"problems": problems_path, "prompts": prompts_path, "weights": policy.weights}
    with stage("evolve-prompts", out, inputs, kept_settings) as kept, tempfile.TemporaryDirectory() as scratch:
        engine = make_engine(policy, max_batch)
        evolved = evolve(policy, engine, problems, prompts, reflector, settings, Path(scratch))
        if evidence is not None:
            with atomic_folder(evidence) as folder:
                shutil.copytree(scratch, folder, dirs_exist_ok=True)
        jsonl.write(out, evolved.prompts)
        kept["figures"] = evolved.figures
    figures = evolved.figures
    say(
        f"{figures['proposals']} proposals: {figures.get('proposals_accepted', 0)} accepted, "
        f"{figures.get('proposals_rejected', 0)} rejected, {figures.get('proposals_duplicate', 0)} duplicates, "
        f"{figures.get('proposals_failed', 0)} failed; {figures['metric_calls']} of {figures['budget']} metric calls "
        f"and {figures['rescoring_calls']} for re-scoring; best anchor mean {figures['anchor_mean_before']:.3f} -> "
        f"{figures['anchor_mean_after']:.3f} -> {out}"
    )
    return figures


def make_reflector(name: str, base_url: str | None, model: str) -> Reflector:
    """`heuristic`, `local` (the frozen base model), or `openai:MODEL`.

    Raises UsageError for any other name.
    """
    if name == "heuristic":
        return HeuristicReflector()
    from fst_cli.fast.reflectors.language_model import local_reflector, openai_reflector

    if name == "local":
        return local_reflector(load_policy(model), max_tokens=256)
    kind, colon, served = name.partition(":")
    if kind == "openai" and colon and served:
        return openai_reflector(served, base_url, REFLECTION_TOKENS)
    raise UsageError(f"unknown reflector `{name}`", hint="heuristic, local, or openai:MODEL")
