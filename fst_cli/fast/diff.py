"""What changed from one prompt to another, word by word."""

import difflib
import re
from collections.abc import Iterator
from typing import Literal

from fst_cli.data.records import Prompt

Kind = Literal["same", "removed", "added"]


def word_diff(before: str, after: str) -> list[tuple[Kind, str]]:
    """Runs of words, with the white space after them, that stayed, went, or came; `after` is what did not go."""
    old, new = (re.findall(r"\s*\S+\s*?(?=\s|$)|\s+$", text) for text in (before, after))
    runs: list[tuple[Kind, str]] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            runs.append(("same", "".join(new[c:d])))
            continue
        runs += [("removed", "".join(old[a:b]))] if b > a else []
        runs += [("added", "".join(new[c:d]))] if d > c else []
    return runs


def marked(runs: list[tuple[Kind, str]]) -> str:
    """A diff as plain text: [-gone-] and {+new+}."""
    return "".join({"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}[kind].format(text) for kind, text in runs)


def example_changes(before: Prompt, after: Prompt) -> Iterator[tuple[Kind, str]]:
    """Worked examples that went or came, by problem and question."""
    old = {(e.problem_id, e.question, e.reply): e for e in before.examples}
    new = {(e.problem_id, e.question, e.reply): e for e in after.examples}
    yield from (("removed", f"{e.problem_id}: {e.question}") for key, e in old.items() if key not in new)
    yield from (("added", f"{e.problem_id}: {e.question}") for key, e in new.items() if key not in old)
