"""What a run says of itself: manifest.json and metrics.jsonl, both made from the stages' own files.

They are written anew after every stage, so a run that was killed and resumed has each step once.
"""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from fst_cli import __version__
from fst_cli.cycle.config import RunConfig
from fst_cli.data.files import atomic_file, is_complete, read_json, sha256, stage_path, write_json
from fst_cli.policy.model import weights_hash
from fst_cli.policy.names import resolve_model

_PACKAGES = ("torch", "transformers", "peft", "gepa", "safetensors", "numpy", "math-verify", "vllm")


def write_manifest(folder: Path, config: RunConfig) -> None:
    """Versions, seed, host, hashes of the data, and the cost so far by stage."""
    cost: dict[str, dict[str, float]] = {}
    for path in sorted(folder.rglob("*stage.json")):
        record = read_json(path)
        spent = cost.setdefault(record["command"], {"runs": 0, "seconds": 0.0, "rollouts": 0, "generated_tokens": 0})
        figures = record.get("figures", {})
        spent["runs"] += 1
        spent["seconds"] = round(spent["seconds"] + record["seconds"], 3)
        spent["rollouts"] += figures.get("rollouts", figures.get("metric_calls", 0) + figures.get("rescoring_calls", 0))
        spent["generated_tokens"] += figures.get("generated_tokens", 0)
    data = folder / "data"
    write_json(
        folder / "manifest.json",
        {
            "fst": __version__,
            "git_commit": _git_commit(),
            "versions": {name: _version(name) for name in _PACKAGES},
            "python": platform.python_version(),
            "host": f"{platform.node()} {platform.machine()} {platform.system()}",
            "seed": config.seed,
            "model": config.model,
            "model_hash": weights_hash(resolve_model(config.model), None),
            "data_sha256": {path.name: sha256(path) for path in sorted(data.glob("*.jsonl"))},
            "cost": cost,
        },
    )


def write_metrics(folder: Path, config: RunConfig) -> None:
    """metrics.jsonl: one line a step, flat keys `slow/loss`, `fast/metric_calls`, `eval/success`."""
    rows = []
    for cycle in range(config.cycles):
        place = folder / f"cycle-{cycle:03d}"
        fast = {f"fast/{name}": value for name, value in _figures(place / "prompts.jsonl").items()}
        for step in range(max(1, config.steps_per_cycle if config.slow.enabled else 1)):
            train = place / f"step-{step:02d}" / "train.json"
            row: dict[str, Any] = {"cycle": cycle, "step": step, **(fast if step == 0 else {})}
            if is_complete(train):
                row |= {f"slow/{name}": value for name, value in read_json(train).items()}
                rollout = _figures(train.parent / "rollouts.jsonl")
                row |= {f"rollout/{name}": value for name, value in rollout.items()}
            if step == config.steps_per_cycle - 1 or not config.slow.enabled:
                row |= _eval_row(_figures(place / "eval.jsonl"))
            if len(row) > 2:
                rows.append(row)
    if rows and (grid := _figures(folder / "grid.jsonl")):
        rows[-1] |= _eval_row({"current": list(grid.values())[-1]})
    with atomic_file(folder / "metrics.jsonl") as temporary:
        temporary.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def _eval_row(figures: dict[str, Any]) -> dict[str, float]:
    """Flat means and intervals of the current weights under the lead prompt."""
    row: dict[str, float] = {}
    for name, value in figures.get("current", {}).items():
        if isinstance(value, dict):
            row[f"eval/{name}"] = value["mean"]
            row[f"eval/{name}/low"], row[f"eval/{name}/high"] = value["low"], value["high"]
        else:
            row[f"eval/{name}"] = value
    return row


def _figures(output: Path) -> dict[str, Any]:
    return read_json(stage_path(output)).get("figures", {}) if is_complete(output) else {}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the source tree that this package lies in; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
