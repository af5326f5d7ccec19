"""A population for a person's eyes: a table, what changed word by word, the lineage as a tree, and a matrix."""

import sys
from pathlib import Path
from typing import Any

from fst_cli.data import jsonl
from fst_cli.data.records import Prompt
from fst_cli.data.text import visible
from fst_cli.fast.diff import example_changes, word_diff
from fst_cli.fast.lineage import load_ancestors

STYLES = {"same": "", "removed": "red strike", "added": "green"}
MARKS = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}


def show_population(path: Path, matrix: bool) -> None:
    """Print the population of a prompts.jsonl to standard output; colours only say again what signs say."""
    from rich.console import Console

    members = [_fit(prompt) for prompt in jsonl.read_all(path, Prompt)]
    # The first of equal prompts: a later one only fills a place.
    known = {prompt.id: prompt for prompt in reversed([*map(_fit, load_ancestors(path)), *members])}
    known = dict(reversed(known.items()))
    wide = None if sys.stdout.isatty() else 160
    console = Console(file=sys.stdout, highlight=False, width=wide)
    console.print(_table(members))
    for prompt in {member.id: member for member in members}.values():
        console.print(_described(prompt, known))
    console.print(_tree(members, known))
    if matrix:
        console.print(_matrix(members))


def _fit(prompt: Prompt) -> Prompt:
    """With nothing in it that a terminal would obey: a language model wrote it."""
    fields = {name: visible(getattr(prompt, name)) for name in ("id", "instruction", "origin", "edit")}
    examples = [
        e.model_copy(update={"question": visible(e.question), "reply": visible(e.reply)}) for e in prompt.examples
    ]
    scores = {visible(problem): score for problem, score in prompt.scores.items()}
    return prompt.model_copy(update={**fields, "examples": examples, "scores": scores})


def _table(members: list[Prompt]) -> Any:
    from rich.table import Table

    table = Table(title=f"{len(members)} prompts, lead prompt first", title_justify="left")
    for column in ("rank", "id", "origin", "cycle", "coverage", "mean", "words", "examples"):
        table.add_column(column, justify="left" if column in ("id", "origin") else "right")
    for prompt in members:
        table.add_row(
            _text(prompt.rank), prompt.id, prompt.origin, str(prompt.cycle), _text(prompt.coverage),
            "" if prompt.mean is None else f"{prompt.mean:.3f}", str(len(prompt.instruction.split())),
            str(len(prompt.examples)),
        )  # fmt: skip
    return table


def _described(prompt: Prompt, known: dict[str, Prompt]) -> Any:
    """The instruction, as a diff to the first parent where that is known, and the examples."""
    from rich.text import Text

    parent = next((known[name] for name in prompt.parents if name in known), None)
    text = Text(f"\n{prompt.id}", style="bold")
    text.append(f" (to its parent {parent.id})\n" if parent else "\n", style="not bold")
    runs = word_diff(parent.instruction, prompt.instruction) if parent else [("same", prompt.instruction)]
    for kind, part in runs:
        before, after = MARKS[kind]
        text.append(f"{before}{part}{after}", style=f"not bold {STYLES[kind]}")
    changes = example_changes(parent or prompt.model_copy(update={"examples": []}), prompt)
    for kind, example in changes:
        sign = {"removed": "-", "added": "+", "same": " "}[kind]
        text.append(f"\n{sign} example {example}", style=f"not bold {STYLES[kind]}")
    return text


def _tree(members: list[Prompt], known: dict[str, Prompt]) -> Any:
    """The lineage by first parents, oldest at the root."""
    from rich.tree import Tree

    ranks = {member.id: member.rank for member in reversed(members)}
    root = Tree("\nlineage", guide_style="dim")
    branches: dict[str, Any] = {}

    def branch(prompt: Prompt) -> Any:
        if prompt.id not in branches:
            parent = next((known[name] for name in prompt.parents if name in known), None)
            rank = f" [rank {ranks[prompt.id]}]" if ranks.get(prompt.id) is not None else ""
            crossed = f" x {', '.join(prompt.parents[1:])}" if len(prompt.parents) > 1 else ""
            label = f"{prompt.id}{rank} cycle {prompt.cycle}, {prompt.origin}{crossed}: {prompt.edit or 'given'}"
            branches[prompt.id] = (branch(parent) if parent else root).add(label.replace("[", r"\["))
        return branches[prompt.id]

    for prompt in known.values():
        branch(prompt)
    return root


def _matrix(members: list[Prompt]) -> Any:
    from rich.table import Table

    rows = list({member.id: member for member in members}.values())
    best: dict[str, float] = {}
    for prompt in rows:
        for problem, score in prompt.scores.items():
            best[problem] = max(score, best.get(problem, score))
    table = Table(title="\nscores on the anchor problems (* = best of these prompts)", title_justify="left")
    table.add_column("problem")
    for prompt in rows:
        table.add_column(prompt.id, justify="right")
    for problem, top in best.items():
        scores = [prompt.scores.get(problem) for prompt in rows]
        table.add_row(problem, *("" if s is None else f"{s:g}{'*' * (s == top)}" for s in scores))
    return table


def _text(value: object) -> str:
    return "" if value is None else str(value)
