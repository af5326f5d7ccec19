"""The history of runs, read from their metrics.jsonl and config.toml: what was measured when, and at what cost.

An arm is one way to train, run once or with several seeds: a run's folder, or a folder that holds one run a seed.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, Field, ValidationError

from fst_cli.data.errors import DataError, UsageError
from fst_cli.measure.intervals import Estimate

Row = dict[str, Any]


class _Loop(BaseModel):
    enabled: bool


class _Evaluations(BaseModel):
    problems: int = Field(ge=1)
    samples: int = Field(ge=1)
    kl_problems: int = Field(ge=1)


class _Known(BaseModel):
    """What is read of a config.toml here; a run of another version may have more."""

    task: str
    seed: int
    fast: _Loop
    slow: _Loop
    eval: _Evaluations
    switch_every: int = 0
    init_from: str | None = None


@dataclass(frozen=True)
class Point:
    """One evaluation on the way: after `update` RL steps, under the lead prompt; success and KL by task."""

    update: int
    cycle: int | None  # None before the first
    evolved: bool  # taken after an evolution, before the cycle's first step
    rollouts: int  # sampled for both loops so far, evaluations not counted; so are the next two
    tokens: int  # generated
    seconds: float
    success: dict[str, Estimate]
    kl: dict[str, Estimate]  # empty where it was not measured


@dataclass(frozen=True)
class History:
    """A run: its configuration, its lines of metrics, and the evaluations among them."""

    folder: Path
    config: Row
    rows: list[Row]
    points: list[Point]

    @property
    def tasks(self) -> list[str]:
        """The task, or those of a continual run."""
        return [name.strip() for name in self.config["task"].split(",")]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def method(self) -> str:
        """`fst`, `rl` or `gepa`: which of the two loops are on."""
        if self.config["fast"]["enabled"]:
            return "fst" if self.config["slow"]["enabled"] else "gepa"
        return "rl"


@dataclass(frozen=True)
class Arm:
    """Runs that differ in their seed only."""

    name: str
    runs: list[History]

    @property
    def tasks(self) -> list[str]:
        """Of all runs."""
        return self.runs[0].tasks


def load_arms(places: list[Path]) -> list[Arm]:
    """An arm a place; its name is as much of the path as tells it from the others.

    Raises DataError where a place holds no run, or a run no metrics yet; UsageError where a place is given twice or
    holds runs of different tasks.
    """
    names = _short_names([place.resolve() for place in places])
    arms = []
    for place, name in zip(places, names, strict=True):
        runs = [load_history(folder) for folder in _run_folders(place)]
        if len({run.config["task"] for run in runs}) > 1:
            raise UsageError(f"{place} holds runs of different tasks", hint="give the folders apart")
        arms.append(Arm(name, sorted(runs, key=lambda run: run.seed)))
    return arms


def load_history(folder: Path) -> History:
    """Read one run.

    Raises DataError where a file is missing or broken.
    """
    try:
        config = tomllib.loads((folder / "config.toml").read_text())
        lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: no such file", hint="has the run begun?") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{folder}/config.toml: not valid TOML: {error}") from None
    try:
        _Known.model_validate(config)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = "is missing" if first["type"] == "missing" else first["msg"].lower()
        raise DataError(f"{folder}/config.toml: not the configuration of a run: `{place}` {reason}") from None
    rows = [_row(line, f"{folder}/metrics.jsonl:{number}") for number, line in enumerate(lines, start=1)]
    tasks = [name.strip() for name in config["task"].split(",")]
    points = []
    for number, row in enumerate(rows, start=1):
        try:
            points += [point] if (point := _point(row, tasks, config)) else []
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{folder}/metrics.jsonl:{number}: not a line of metrics: {reason}") from None
    return History(folder, config, rows, points)


def _run_folders(place: Path) -> list[Path]:
    if (place / "config.toml").exists():
        return [place]
    found = sorted(path.parent for path in place.glob("*/config.toml"))
    if not found:
        raise DataError(f"{place}: holds no run", hint="a run's folder, or one with a run a seed in it")
    return found


def _row(line: bytes, where: str) -> Row:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get("update"), int):
        raise DataError(f"{where}: not a line of metrics: `update` is missing")
    return row


def _point(row: Row, tasks: list[str], config: Row) -> Point | None:
    """The evaluation in a line; None where there is none. Before any update the weights are the base model's."""
    problems = config["eval"]["problems"]
    key, success, kl = f"success_mean@{config['eval']['samples']}", {}, {}
    for task in tasks:
        within = f"/{task}" if len(tasks) > 1 else ""
        if found := _estimate(row, f"eval{within}/{key}", problems):
            success[task] = found
        if found := _estimate(row, f"kl{within}/kl_per_token", min(problems, config["eval"]["kl_problems"])):
            kl[task] = found
        elif row["update"] == 0 and not config.get("init_from"):
            kl[task] = Estimate(mean=0.0, low=0.0, high=0.0, n=problems)
    if not success:
        return None
    evolved = "cycle" in row and "step" not in row
    return Point(
        update=row["update"],
        cycle=row.get("cycle"),
        evolved=evolved,
        rollouts=int(row.get("cost/rollouts", 0)),
        tokens=int(row.get("cost/generated_tokens", 0)),
        seconds=float(row.get("cost/seconds", 0)),
        success=success,
        kl=kl,
    )


def _estimate(row: Row, name: str, n: int) -> Estimate | None:
    if name not in row:
        return None
    return Estimate(mean=row[name], low=row[f"{name}/low"], high=row[f"{name}/high"], n=n)


def _short_names(places: list[Path]) -> list[str]:
    if len(set(places)) < len(places):
        raise UsageError("the same run is given twice")
    for length in range(1, max(len(place.parts) for place in places)):
        names = ["/".join(place.parts[-length:]) for place in places]
        if len(set(names)) == len(names):
            return names
    return [str(place) for place in places]
