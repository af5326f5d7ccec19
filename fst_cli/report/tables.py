"""What stands on the page beside the figures: a row an arm, and the configuration and origin of its runs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fst_cli.data.files import read_json
from fst_cli.data.text import without_credentials
from fst_cli.measure.curves import curve
from fst_cli.measure.history import Arm, History
from fst_cli.report.cost import seconds_of
from fst_cli.report.series import kl_limits, origin, seen

RESULTS = ["arm", "method", "model", "seeds", "updates", "final success, %", "final KL, nats per token"]
COSTS = {
    "RL rollouts": "cost/slow/rollouts",
    "evolution rollouts": "cost/fast/rollouts",
    "generated tokens": "cost/generated_tokens",
    "trained tokens": "cost/slow/trained_tokens",
    "reflections": "cost/fast/reflections",
    "reflection tokens": "cost/fast/reflection_tokens",
    "training, s": "cost/seconds",
}


@dataclass(frozen=True)
class Configuration:
    """The config.toml of an arm's runs, one text for all that differ in their seed only, and what made them."""

    arm: str
    seeds: str
    text: str
    made_by: str


def result_row(arm: Arm) -> list[str]:
    """What an arm is and where it ended, in the order of RESULTS."""
    config = arm.runs[0].config
    start = f"\nfrom {origin(arm)}" if config.get("init_from") else ""
    return [
        arm.name,
        arm.runs[0].method,
        f"{without_credentials(str(config['model']))}{start}",
        f"{len(arm.runs)} ({', '.join(str(run.seed) for run in arm.runs)})",
        _updates(arm),
        "\n".join(_success(arm, task) for task in arm.tasks),
        "\n".join(_kl(arm, task) for task in arm.tasks),
    ]


def cost_row(arm: Arm) -> list[str]:
    """What an arm has cost at the end, or as far as its runs have come: the arm, COSTS, and seconds of all stages."""
    spent = seconds_of(arm)
    costs = [_number(_mean([_last(run, key) for run in arm.runs])) for key in COSTS.values()]
    return [arm.name, *costs, _number(sum(spent.values())) if spent else "–"]


def configurations(arms: Sequence[Arm]) -> list[Configuration]:
    """One an arm, or one a run where runs differ in more than their seed."""
    found = []
    for arm in arms:
        by_rest: dict[str, list[History]] = {}
        for run in arm.runs:
            rest = re.sub(r"^seed = .*$", "", _config_text(run), count=1, flags=re.MULTILINE)
            by_rest.setdefault(rest, []).append(run)
        for runs in by_rest.values():
            seeds = ", ".join(str(run.seed) for run in runs)
            made_by = dict.fromkeys(_made_by(run) for run in runs)
            found.append(Configuration(arm.name, seeds, _config_text(runs[0]), "; ".join(filter(None, made_by))))
    return found


def _config_text(run: History) -> str:
    return without_credentials((run.folder / "config.toml").read_text())


def _made_by(run: History) -> str:
    """Versions and host, of the manifest."""
    path = run.folder / "manifest.json"
    if not path.exists():
        return ""
    manifest = read_json(path)
    versions: Any = manifest.get("versions")
    names = [f"{name} {version}" for name, version in versions.items() if version] if isinstance(versions, dict) else []
    commit = f" ({str(manifest['git_commit'])[:12]})" if manifest.get("git_commit") else ""
    return ", ".join([f"fst {manifest.get('fst')}{commit}", *names, f"host {manifest.get('host')}"])


def _progress(arm: Arm) -> tuple[int, list[int]]:
    """How many updates were planned, and how many each run has made; GEPA alone counts cycles."""
    config, slow = arm.runs[0].config, arm.runs[0].config["slow"]["enabled"]
    planned = config["cycles"] * (config["steps_per_cycle"] if slow else 1)
    return planned, [(run.rows[-1]["update"] if slow else len({*_cycles(run)})) if run.rows else 0 for run in arm.runs]


def _updates(arm: Arm) -> str:
    planned, made = _progress(arm)
    word = "" if arm.runs[0].config["slow"]["enabled"] else " cycles"
    counts = "–".join(map(str, sorted({min(made), max(made)})))
    return f"{planned}{word}" if min(made) == max(made) == planned else f"{counts} of {planned}{word}"


def _cycles(run: History) -> list[int]:
    return [row["cycle"] for row in run.rows if "cycle" in row]


def _success(arm: Arm, task: str) -> str:
    shown = seen(arm, task)
    if not shown:
        return f"{_said_first(arm, task)}–"
    return f"{_said_first(arm, task)}{shown[-1].mean:.1f} [{shown[-1].low:.1f}, {shown[-1].high:.1f}]"


def _kl(arm: Arm, task: str) -> str:
    steps = curve(arm, task)
    if not steps or not (found := steps[-1].kl):
        return f"{_said_first(arm, task)}–"
    low, high = kl_limits(arm, task)[-1]
    return f"{_said_first(arm, task)}{found.mean:.4f} [{low:.4f}, {high:.4f}]"


def _said_first(arm: Arm, task: str) -> str:
    """The task where there are several, and a word where a run has not ended: the last that all seeds have measured."""
    planned, made = _progress(arm)
    return (f"{task}: " if len(arm.tasks) > 1 else "") + ("so far " if min(made) < planned else "")


def _last(run: History, name: str) -> float:
    return float(run.rows[-1].get(name, 0) or 0) if run.rows else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
