"""A run's status on standard output, for the eyes or as JSON."""

import sys
from pathlib import Path
from typing import Any

import orjson

from fst_cli.cycle.status import run_status


def show_status(folder: Path, as_json: bool) -> None:
    """Print it."""
    found = run_status(folder)
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        return
    sys.stdout.write("\n".join(_lines(found)) + "\n")


def _lines(found: dict[str, Any]) -> list[str]:
    state = f"running as process {found['process']}" if found["process"] else found["state"]
    lines = [f"{found['run']}: {state}, {found['complete']} of {found['stages']} stages, {_time(found['seconds'])}"]
    if found["failure"]:
        lines.append(f"failed in [{found['failure']['stage']}]: {found['failure']['error']}")
    if found["next"]:
        left = found["seconds_left"]
        lines.append(f"next: {found['next']}" + ("" if left is None else f"; about {_time(left)} to go"))
    if found["state"] in ("failed", "stopped"):
        lines.append(f"go on with: fst cycle --out {found['run']} --resume")
    for command, cost in found["cost"].items():
        spent = ", ".join(f"{value:g} {name.replace('_', ' ')}" for name, value in cost.items() if value)
        lines.append(f"  {command}: {spent}")
    return lines


def _time(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min" if whole < 7200 else f"{whole / 3600:.1f} h"
