"""The compare stage: two arms, or two evaluation files -> one JSON object, and a table for the eyes."""

import sys
from pathlib import Path
from typing import Any

import orjson

from fst_cli.console import say, table, warn
from fst_cli.data import jsonl
from fst_cli.data.errors import DataError, nearest
from fst_cli.data.files import write_json
from fst_cli.data.records import Evaluation
from fst_cli.measure.compare import compare
from fst_cli.measure.evaluate import paired_difference
from fst_cli.measure.history import load_arms
from fst_cli.measure.intervals import OverSeeds


def compare_stage(ours: Path, theirs: Path, out: Path | str, cell: str | None = None) -> dict[str, Any]:
    """Compare two arms of runs, or two files of evaluations (their last cell, or `cell`) problem by problem."""
    if ours.is_file() and theirs.is_file():
        found = _compare_evaluations(ours, theirs, cell)
    else:
        found = compare(*load_arms([ours, theirs]))
        _warn_of_unfinished(found)
        for task, figures in found["tasks"].items():
            _show(task, found["arms"], figures)
        for stage in found.get("stages", []):
            _show_stage(stage)
    if str(out) == "-":
        sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    else:
        write_json(Path(out), found)
    return found


def _warn_of_unfinished(found: dict[str, Any]) -> None:
    """The ends of two arms are compared wherever they are."""
    for figures in found["tasks"].values():
        ends = [figures["final"][name]["updates"] for name in found["arms"]]
        if len({update for arm in ends for update in arm}) > 1:
            warn(f"the last evaluations are after {ends[0]} and {ends[1]} updates: are all runs finished?")
            return


def _compare_evaluations(ours: Path, theirs: Path, cell: str | None) -> dict[str, Any]:
    first, second = _cell(ours, cell), _cell(theirs, cell)
    if {row.problem_id for row in first} != {row.problem_id for row in second}:
        raise DataError(f"{ours} and {theirs} are not on the same problems")
    difference = paired_difference(first, second)
    say(f"{ours} ({first[0].weights}) less {theirs} ({second[0].weights}): success {difference}, n={difference.n}")
    return {"cells": [first[0].weights, second[0].weights], "success_difference": difference.model_dump()}


def _cell(path: Path, name: str | None) -> list[Evaluation]:
    rows = jsonl.read_all(path, Evaluation)
    name = name or rows[-1].weights
    found = [row for row in rows if row.weights == name]
    if not found:
        known = list(dict.fromkeys(row.weights for row in rows))
        raise DataError(f"{path}: has no cell `{name}`", hint=nearest(name, known))
    return found


def _show(task: str, names: list[str], figures: dict[str, Any]) -> None:
    final = figures["final"]
    ends = [final[name] for name in names]
    rows = [
        ["final success", *(_text(end["success"]) for end in ends), _text(final["difference"], "+.3f")],
        ["best success", *(_text(end["best"]) for end in ends), ""],
    ]
    for key, name in (("to_their_best", names[1]), ("to_our_best", names[0])):
        for axis, form in (("update", ".1f"), ("rollouts", ".0f"), ("seconds", ".0f")):
            what = f"{'updates' if axis == 'update' else axis} to {name}'s best"
            if figures[key]["reached_by"] < figures[key]["seeds"]:
                what += f" ({figures[key]['reached_by']} of {figures[key]['seeds']} seeds)"
            rows.append([what, *_cells(figures[key].get(axis), form)])
    for matched in figures["kl_at_matched_reward"]:
        if matched["seeds"]:
            rows.append([f"KL at success {matched['reward']['mean']:.3f}", *_cells(matched["kl"], ".4f")])
    rows.append(["final KL, nats per token", *(_text(end.get("kl"), ".4f") for end in ends), ""])
    table(f"{task}: {names[0]} against {names[1]}", ["", *names, "difference or share"], rows)
    for name in names:
        say(f"fit of {name}: {_asymptote(figures['fits'][name])}")


def _cells(both: dict[str, Any] | None, form: str) -> list[str]:
    """Ours, theirs, and ours over theirs."""
    if both is None:
        return ["-", "-", "not reached"]
    share = "" if both["share"] is None else f"x {_text(both['share'], '.2f')}"
    return [_text(both["ours"], form), _text(both["theirs"], form), share]


def _show_stage(stage: dict[str, Any]) -> None:
    rows = [
        [name, *(_text(arm.get(key), "+.3f" if key == "acquired" else ".3f") for key in _STAGE), _share(arm)]
        for name, arm in stage["arms"].items()
    ]
    table(f"stage {stage['task']}", ["", "before", "after", "acquired", "at the end", "normalised"], rows)


_STAGE = ("before", "after", "acquired", "end")


def _share(arm: dict[str, Any]) -> str:
    values = [arm.get("normalised_after"), arm.get("normalised_end")]
    return " -> ".join("-" if value is None else f"{value:.2f}" for value in values)


def _asymptote(fit: dict[str, Any]) -> str:
    if "refused" in fit:
        return f"refused: {fit['refused']}"
    low, high = fit["intervals"]["asymptote"]
    return f"asymptote {fit['asymptote']:.3f} [{low:.3f}, {high:.3f}]"


def _text(estimate: dict[str, Any] | None, form: str = ".3f") -> str:
    """An estimate over seeds with its interval, if it has one."""
    if estimate is None:
        return "-"
    found = OverSeeds.model_validate(estimate)
    if found.low is None or found.high is None:
        return format(found.mean, form)
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"
