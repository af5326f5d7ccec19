"""manifest.json: what a run was made with, and what each of its stages cost so far."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fst_cli import __version__
from fst_cli.cycle.accounting import add_cost
from fst_cli.cycle.config import RunConfig
from fst_cli.data.files import read_json, sha256, write_json
from fst_cli.policy.model import weights_hash
from fst_cli.policy.names import resolve_model

_PACKAGES = ("torch", "transformers", "peft", "gepa", "safetensors", "numpy", "math-verify", "vllm")


def write_manifest(folder: Path, config: RunConfig) -> None:
    """Versions, seed, host, hashes of the data, and the cost so far by stage."""
    cost: dict[str, dict[str, float]] = {}
    for path in sorted(folder.rglob("*stage.json")):
        add_cost(cost.setdefault(read_json(path)["command"], {"runs": 0}), path)
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
            "init_hash": weights_hash(resolve_model(config.model), Path(config.init_from))
            if config.init_from
            else None,
            "data_sha256": {path.name: sha256(path) for path in sorted(data.glob("*.jsonl"))},
            "cost": cost,
        },
    )


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
