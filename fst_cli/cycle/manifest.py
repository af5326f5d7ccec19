"""manifest.json: what a run was made with, what has changed since, and what each of its stages cost so far."""

import functools
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fst_cli import __version__
from fst_cli.cycle.accounting import add_cost
from fst_cli.cycle.config import RunConfig
from fst_cli.cycle.plan import planned
from fst_cli.data.errors import DataError
from fst_cli.data.files import read_json, sha256, write_json
from fst_cli.data.stage import is_complete
from fst_cli.policy.model import weights_hash
from fst_cli.policy.names import resolve_model

_PACKAGES = ("torch", "transformers", "peft", "gepa", "safetensors", "numpy", "math-verify", "vllm")


NAME = "manifest.json"


def write_manifest(folder: Path, config: RunConfig, accepted: Sequence[str] = ()) -> None:
    """Write what the run is made with, the changes that were accepted on the way, and the cost so far by stage."""
    cost: dict[str, dict[str, float]] = {}
    for stage in planned(config, folder):
        if is_complete(stage.output):
            add_cost(cost.setdefault(stage.command, {"runs": 0}), stage.output)
    path = folder / NAME
    before = (_read(path) or {}).get("accepted_changes", [])
    write_json(path, _made_with(folder, config) | {"accepted_changes": [*before, *accepted], "cost": cost})


def changes(folder: Path, config: RunConfig) -> list[str]:
    """What a run was made with and is no more, each as `what: before -> now`."""
    made = _read(folder / NAME)
    if made is None:
        begun = any(is_complete(stage.output) for stage in planned(config, folder))
        return ["manifest.json: gone or damaged"] if begun else []
    before, now = _flat(made), _flat(_made_with(folder, config))
    names = [name for name in now if name in before and name.split(".")[0] in _DECISIVE]
    return [f"{name}: {before[name]} -> {now[name]}" for name in names if before[name] != now[name]]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except DataError:
        return None


# Of another value of these, the same stages may make other bytes.
_DECISIVE = ("fst", "git_commit", "versions", "model_hash", "init_sha256", "data_sha256")


def _made_with(folder: Path, config: RunConfig) -> dict[str, Any]:
    data = sorted((folder / "data").glob("*.jsonl"))
    return {
        "fst": __version__,
        "git_commit": _git_commit(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "host": f"{platform.node()} {platform.machine()} {platform.system()}",
        "seed": config.seed,
        "model": config.model,
        "model_hash": weights_hash(resolve_model(config.model), None),
        "init_sha256": sha256(Path(config.init_from)) if config.init_from else None,
        "data_sha256": {path.name: sha256(path) for path in data},
    }


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return flat


@functools.cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@functools.cache
def _git_commit() -> str | None:
    """The commit of the source tree that this package lies in; None for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
