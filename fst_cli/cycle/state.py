"""A run while it goes on: its directory, the newest weights, and what is loaded.

A stage whose stage.json is there and whose inputs are unchanged is skipped, which is all that `--resume` means once
`repair` has gone over the run. The policy stays loaded between stages.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fst_cli.console import say
from fst_cli.cycle.config import RunConfig
from fst_cli.cycle.manifest import write_manifest
from fst_cli.cycle.metrics import write_metrics
from fst_cli.cycle.sinks import Sinks
from fst_cli.data.errors import RunError
from fst_cli.data.files import pruned_path
from fst_cli.data.stage import is_up_to_date
from fst_cli.engines.registry import Engines
from fst_cli.policy.model import Policy, load_policy


@dataclass
class Run:
    """A run directory and what is loaded of it."""

    config: RunConfig
    folder: Path
    engines: Engines
    sinks: Sinks
    label: str | None = None  # of the stage that is going on
    weights: Path | None = None  # the newest trained weights, at first those of init_from
    _policy: Policy | None = None
    _loaded: Path | None = None
    _base: Policy | None = None
    _skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.weights = self.start

    @property
    def start(self) -> Path | None:
        """The weights that this run starts from; None for the base model."""
        return Path(self.config.init_from) if self.config.init_from else None

    def data(self, split: str, task: str) -> Path:
        """The problems of a task."""
        return self.folder / "data" / self.config.file_of(split, task)

    def policy(self) -> Policy:
        """The current policy, loaded once."""
        if self._policy is None or self._loaded != self.weights:
            check_kept(self.weights)
            self._policy = load_policy(self.config.model, self.weights, lazy=self.engines.lazy)
            self._loaded = self.weights
        return self._policy

    def base(self) -> Policy:
        """The base model."""
        if self.weights is None:
            return self.policy()
        if self._base is None:
            self._base = load_policy(self.config.model, lazy=self.engines.lazy)
        return self._base

    def trained(self, weights: Path, in_memory: bool) -> None:
        """The newest weights are in this folder, and in the loaded policy too if it was trained just now."""
        self.weights = weights
        if in_memory:
            self._loaded = weights

    def stage(self, label: str, output: Path, inputs: Iterable[Path | None], run: Callable[[], Any]) -> bool:
        """Run a stage unless it is complete on these inputs; whether it was run."""
        if is_up_to_date(output, inputs):
            self._skipped.append(label)
            return False
        if self._skipped:
            say(f"complete and skipped: {len(self._skipped)} stages, the last: {self._skipped[-1]}")
            self._skipped.clear()
        say(f"[{label}]")
        self.label = label
        run()
        self.sinks.log(write_metrics(self.folder, self.config))
        write_manifest(self.folder, self.config)
        return True


def check_kept(path: Path | None) -> None:
    """Raise RunError where a stage needs what was pruned."""
    if path is not None and not path.exists() and pruned_path(path).exists():
        raise RunError(
            f"{path} was pruned, and a stage that reads it has to run again",
            hint="a new run can --init-from weights that are kept; keep_weights=all and keep_optimizer=all keep all",
        )
