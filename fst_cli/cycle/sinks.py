"""Where the lines of metrics.jsonl go besides: TensorBoard, wandb, trackio, when installed and asked for.

metrics.jsonl stays the truth: a sink gets a line once it is complete, and `sinks.json` counts the lines it has had, so
that a resumed run goes on where it stopped. A sink that fails is left out with a warning; it never ends a run.
"""

import contextlib
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from fst_cli.console import warn
from fst_cli.cycle.config import RunConfig
from fst_cli.data.errors import DataError, UsageError
from fst_cli.data.files import read_json, write_json

PROJECT = "fst"
# Addresses may hold credentials.
_PRIVATE = {"engine": {"base_url"}, "fast": {"reflector_base_url"}}


class Sink(Protocol):
    """Takes the numbers of a line; `number` is the line's place in metrics.jsonl."""

    def log(self, numbers: dict[str, float], number: int) -> None:
        """Take a line."""
        ...

    def close(self) -> None:
        """No line follows."""
        ...


class TensorBoard:
    """Event files in the run's own folder, over updates."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def log(self, numbers: dict[str, float], number: int) -> None:
        """One scalar a key."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, int(numbers["update"]))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class Wandb:
    """A run of the project `fst`; WANDB_MODE=offline and wandb's other variables are its own."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        import wandb

        name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]  # the same when the run is resumed
        self._run = wandb.init(
            project=PROJECT, name=folder.name, id=name, resume="allow", dir=str(folder), config=config,
            settings=wandb.Settings(console="off", silent=True),
        )  # fmt: skip
        self._run.define_metric("*", step_metric="update")

    def log(self, numbers: dict[str, float], number: int) -> None:
        """One step a line."""
        self._run.log(numbers, step=number)

    def close(self) -> None:
        """Tell wandb that the run has ended."""
        self._run.finish()


class Trackio:
    """A run of the project `fst` in trackio's local database; its notes go to standard error."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        import trackio

        self._trackio = trackio
        with contextlib.redirect_stdout(sys.stderr):
            trackio.init(PROJECT, folder.name, config=config, resume="allow", embed=False)

    def log(self, numbers: dict[str, float], number: int) -> None:
        """One step a line."""
        self._trackio.log(numbers, step=number)

    def close(self) -> None:
        """Wait until all is written."""
        with contextlib.redirect_stdout(sys.stderr):
            self._trackio.finish()


_SINKS: dict[str, Callable[[Path, dict[str, Any]], Sink]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}


def check_sinks(names: Sequence[str]) -> None:
    """Raise UsageError where a sink's package is missing."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"--sink {name}: its package is not installed", hint=f"pip install {name}")


class Sinks:
    """The open sinks of a run."""

    def __init__(self, config: RunConfig, folder: Path) -> None:
        self._counts_path = folder / "sinks.json"
        self._counts: dict[str, int] = _counts(self._counts_path)
        self._open: dict[str, Sink] = {}
        shown = config.model_dump(mode="json", exclude=_PRIVATE)
        for name in config.sinks:
            with self._tolerating(name):
                self._open[name] = _SINKS[name](folder, shown)

    def log(self, rows: Sequence[dict[str, Any]], ended: bool = False) -> None:
        """Pass on the lines that no further stage adds to: all but the last, and at the run's end that one too."""
        complete = list(rows) if ended else list(rows[:-1])
        for name, sink in list(self._open.items()):
            had = self._counts.get(name, 0)
            with self._tolerating(name):
                for number, row in enumerate(complete[had:], start=had):
                    sink.log(_numbers(row), number)
            if had < len(complete):
                self._counts[name] = len(complete)
                write_json(self._counts_path, self._counts)

    def close(self) -> None:
        """End them."""
        for name, sink in list(self._open.items()):
            with self._tolerating(name):
                sink.close()

    @contextlib.contextmanager
    def _tolerating(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            warn(f"{name} fails and is left out: {type(error).__name__}: {error}")
            self._open.pop(name, None)


def _counts(path: Path) -> dict[str, int]:
    try:
        return read_json(path)
    except DataError:
        return {}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    """What can be drawn; `step`, which counts within a cycle, is a word of the sinks' own."""
    return {key: value for key, value in row.items() if isinstance(value, int | float) and key != "step"}
