"""The evolve-prompts stage: problems.jsonl and a population -> the next population."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fst_cli import __version__
from fst_cli.console import say
from fst_cli.data import jsonl, tensors
from fst_cli.data.errors import UsageError
from fst_cli.data.files import atomic_folder, sha256
from fst_cli.data.records import Sampling
from fst_cli.data.stage import stage
from fst_cli.engines.registry import Engines
from fst_cli.engines.reuse import load_kept
from fst_cli.fast.budget import check_budget
from fst_cli.fast.evolve import Carried, evolve
from fst_cli.fast.journal import Journal
from fst_cli.fast.lineage import lineage_path, load_ancestors
from fst_cli.fast.reflectors.base import Reflector
from fst_cli.fast.reflectors.heuristic import HeuristicReflector
from fst_cli.fast.settings import EvolveSettings, Recipe, ReflectorSettings
from fst_cli.policy.model import Policy, load_policy
from fst_cli.stages.inputs import load_problems, load_prompts

LOCAL_TOKENS = 256  # of a reflection by the base model, whose context is small


def evolve_stage(
    load: Callable[[], Policy],
    problems_path: Path | str,
    prompts_path: Path | None,
    out: Path | str,
    *,
    settings: EvolveSettings,
    sampling: Sampling,
    seed: int,
    reflector: Reflector,
    cycle: int = 0,
    engines: Engines | None = None,
    evidence: Path | None = None,
    known: Path | None = None,
    spend_limit: float = 0.0,
) -> dict[str, Any]:
    """Evolve the population; proposals, evaluations and gepa's own state go to `evidence` (by default beside `out`).

    `known` is an evaluations.jsonl whose scores of the same weights are taken instead of sampling. An evolution that
    was stopped goes on from its journal, beside the evidence.
    """
    problems = load_problems(problems_path)
    carried = Carried(
        load_prompts(prompts_path, problems), load_ancestors(prompts_path), load_kept(known) if known else []
    )
    check_budget(settings, problems, carried.population)
    policy = load()
    kept_settings = {
        "model": policy.name,
        "policy": policy.hash,
        "reflector": reflector.name,
        **settings.model_dump(mode="json"),
        "sampling": sampling.model_dump(),
        "seed": seed,
        "cycle": cycle,
    }
    to_file = str(out) != "-"
    if evidence is None and to_file:
        evidence = Path(out).with_suffix("").parent / f"{Path(out).stem}-evolve"
    inputs = {"problems": problems_path, "prompts": prompts_path, "weights": policy.weights, "known": known}
    journal = Journal(_journal_folder(evidence), {**kept_settings, "inputs": _hashes(inputs), "version": __version__})
    made = _made(Path(out), evidence)
    with stage("evolve-prompts", out, inputs, kept_settings, made) as kept, tempfile.TemporaryDirectory() as scratch:
        engine = (engines or Engines()).of(policy)
        evolved = evolve(
            policy, engine, problems, carried, reflector, settings, sampling, seed, cycle, Path(scratch),
            journal=journal, spend_limit=spend_limit,
        )  # fmt: skip
        if evidence is not None:
            with atomic_folder(evidence) as folder:
                shutil.copytree(scratch, folder, dirs_exist_ok=True)
        if to_file:
            jsonl.write(lineage_path(Path(out)), evolved.ancestors)
        jsonl.write(out, evolved.prompts)
        kept["figures"] = evolved.figures
    journal.close()
    say(f"{_summary(evolved.figures)} -> {out}")
    return evolved.figures


def _made(out: Path, evidence: Path | None) -> list[Path]:
    """What later stages read, besides the population."""
    evaluations = evidence / "evaluations.jsonl" if evidence else None
    return [lineage_path(out), *([evaluations, tensors.beside(evaluations)] if evaluations else [])]


def _summary(figures: dict[str, Any]) -> str:
    tokens = figures["reflection_input_tokens"] + figures["reflection_output_tokens"]
    cost = f", cost {figures['reflection_cost']:.4f}" if figures["reflection_cost"] else ""
    reflection = f"; {tokens} reflection tokens{cost}" if tokens else ""
    seconds = ", ".join(
        f"{part} {figures[name]:.0f} s"
        for part in ("rescoring", "minibatch", "anchor", "reflection")
        if figures.get(name := f"seconds_{part}", 0) >= 0.5
    )
    return (
        f"{figures['proposals']} proposals: {figures['proposals_accepted']} accepted, "
        f"{figures['proposals_rejected']} rejected, {figures['proposals_duplicate']} duplicates, "
        f"{figures['proposals_failed']} failed; {figures['metric_calls']} of {figures['budget']} metric calls and "
        f"{figures['rescoring_calls']} for re-scoring{reflection}{f' ({seconds})' if seconds else ''}; best anchor "
        f"mean {figures['anchor_mean_before']:.3f} -> {figures['anchor_mean_after']:.3f}"
    )


def make_reflector(settings: ReflectorSettings, recipe: Recipe, model: str) -> Reflector:
    """`heuristic`, `local` (the frozen base model), or `openai:MODEL`.

    Raises UsageError for any other name.
    """
    name = settings.reflector
    if name == "heuristic":
        return HeuristicReflector()
    from fst_cli.fast.reflectors.language_model import local_reflector, openai_reflector

    if name == "local":
        return local_reflector(load_policy(model), min(LOCAL_TOKENS, settings.reflector_tokens), recipe)
    kind, colon, served = name.partition(":")
    if kind == "openai" and colon and served:
        return openai_reflector(served, settings, recipe)
    raise UsageError(f"unknown reflector `{name}`", hint="heuristic, local, or openai:MODEL")


def _journal_folder(evidence: Path | None) -> Path | None:
    return evidence.with_name(f"{evidence.name}.partial") if evidence else None


def _hashes(inputs: dict[str, Path | str | None]) -> dict[str, str]:
    return {name: sha256(Path(path)) for name, path in inputs.items() if path and Path(path).exists()}
