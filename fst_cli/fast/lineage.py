"""Where the prompts of a population come from: their ancestors, kept across cycles beside the population."""

from collections.abc import Sequence
from pathlib import Path

from fst_cli.data import jsonl
from fst_cli.data.records import Prompt


def lineage_path(prompts: Path) -> Path:
    """The file of a population's ancestors."""
    return prompts.with_suffix(".lineage.jsonl")


def load_ancestors(prompts: Path | None) -> list[Prompt]:
    """The ancestors kept beside a population; none where there is no such file."""
    path = lineage_path(prompts) if prompts else None
    return list(jsonl.read(path, Prompt)) if path and path.exists() else []


def ancestors(prompts: Sequence[Prompt], known: Sequence[Prompt]) -> list[Prompt]:
    """All ancestors of `prompts` that are among `known` and not members themselves, oldest first."""
    by_id: dict[str, Prompt] = {}
    for prompt in known:
        by_id.setdefault(prompt.id, prompt)
    members = {prompt.id for prompt in prompts}
    found: dict[str, Prompt] = {}
    todo = [parent for prompt in prompts for parent in prompt.parents]
    while todo:
        name = todo.pop()
        if name in by_id and name not in found:
            found[name] = by_id[name]
            todo += by_id[name].parents
    order = {name: place for place, name in enumerate(by_id)}
    return [found[name] for name in sorted(found, key=order.__getitem__) if name not in members]
