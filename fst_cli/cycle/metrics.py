"""metrics.jsonl: a line for the start, for every evolution and for every RL step, flat keys, made of the stages' files.

It is written anew after every stage, so a run that was killed and resumed has each line once. `update` counts the
RL steps made so far; what an evaluation measured is at the line after which it was taken.
"""

from pathlib import Path
from typing import Any

import orjson

from fst_cli.cycle.accounting import Account
from fst_cli.cycle.config import RunConfig
from fst_cli.data.files import atomic_file, read_json
from fst_cli.data.stage import is_complete, read_stage

Row = dict[str, Any]


def write_metrics(folder: Path, config: RunConfig) -> list[Row]:
    """Write and return the lines of a run as far as it has come."""
    rows = metrics_rows(folder, config)
    with atomic_file(folder / "metrics.jsonl") as temporary:
        temporary.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return rows


def metrics_rows(folder: Path, config: RunConfig) -> list[Row]:
    """The lines in order. The last one has the end's measurements."""
    account = Account()
    rows = [{"update": 0} | account.figures() | _evaluated(folder, config)]
    for cycle in range(config.cycles):
        place = folder / f"cycle-{cycle:03d}"
        here = {"task": config.task_of(cycle), "cycle": cycle}
        if is_complete(place / "prompts.jsonl"):
            account.add("fast", place / "prompts.jsonl")
            fast = {f"fast/{name}": value for name, value in _figures(place / "prompts.jsonl").items()}
            at = {"update": rows[-1]["update"]} | here
            rows.append(at | fast | account.figures() | _evaluated(place, config))
        for step in range(config.steps_per_cycle if config.slow.enabled else 0):
            at = {"update": rows[-1]["update"] + 1} | here | {"step": step}
            if found := _step(place / f"step-{step:02d}", account):
                measured = _evaluated(place / f"step-{step:02d}", config) | _drifted(place / f"step-{step:02d}", config)
                rows.append(at | found | measured)
    if _ended(folder, config):
        rows[-1] |= _evaluated(folder, config, "grid") | _drifted(folder, config)
    return rows


def _ended(folder: Path, config: RunConfig) -> bool:
    """Whether the grid is that of the last cycle, not of a shorter run that has grown since."""
    grid = folder / config.file_of("grid", config.tasks[-1])
    if not is_complete(grid):
        return False
    read, last = read_stage(grid).inputs, f"cycle-{config.cycles - 1:03d}"
    newest = Path(read["weights" if config.slow.enabled else "prompts"].path)
    return last in newest.parts


def _step(folder: Path, account: Account) -> Row:
    train = folder / "train.json"
    if not is_complete(train):
        return {}
    account.add("slow", folder / "rollouts.jsonl", train)
    slow = {f"slow/{name}": value for name, value in read_json(train).items()}
    rollout = {f"rollout/{name}": value for name, value in _figures(folder / "rollouts.jsonl").items()}
    return slow | rollout | account.figures()


def _evaluated(folder: Path, config: RunConfig, stem: str = "eval") -> Row:
    """Figures of the current weights under the lead prompt, a file's last; in a continual run by task."""
    row: Row = {}
    for task in config.tasks:
        if cells := _figures(folder / config.file_of(stem, task)):
            row |= _flat(f"eval{_within(config, task)}", list(cells.values())[-1])
    return row


def _drifted(folder: Path, config: RunConfig) -> Row:
    """Figures of the divergence from the base model."""
    row: Row = {}
    for task in config.tasks:
        row |= _flat(f"kl{_within(config, task)}", _figures(folder / config.file_of("kl", task)))
    return row


def _within(config: RunConfig, task: str) -> str:
    return f"/{task}" if len(config.tasks) > 1 else ""


def _flat(prefix: str, figures: dict[str, Any]) -> Row:
    """Means with their intervals as `NAME`, `NAME/low`, `NAME/high`; numbers as they are; nothing else."""
    row: Row = {}
    for name, value in figures.items():
        if isinstance(value, dict) and "mean" in value:
            row[f"{prefix}/{name}"] = value["mean"]
            row[f"{prefix}/{name}/low"], row[f"{prefix}/{name}/high"] = value["low"], value["high"]
        elif isinstance(value, int | float):
            row[f"{prefix}/{name}"] = value
    return row


def _figures(output: Path) -> dict[str, Any]:
    return read_stage(output).figures if is_complete(output) else {}
