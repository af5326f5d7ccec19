"""What a person sees while a stage runs: everything here goes to standard error, data never does (PITFALLS 26)."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from fst_cli.data.text import visible


@cache
def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _is_main() -> bool:
    """Whether this is the process of several that speaks."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """One line of progress."""
    if not _is_main():
        return
    _console().print(visible(text), markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Something a person should not miss."""
    if not _is_main():
        return
    _console().print(visible(f"warning: {text}"), style="yellow", markup=False, soft_wrap=True)


def fail(text: str, hint: str = "") -> None:
    """An error in one sentence and, on the next line, the fix."""
    _console().print(visible(f"error: {text}"), style="red", markup=False, soft_wrap=True)
    if hint:
        _console().print(visible(f"hint: {hint}"), markup=False, soft_wrap=True)


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere; yields `advance(n)`."""
    if not (sys.stderr.isatty() and _is_main()):
        yield lambda n: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=_console(), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda n: bar.advance(task, n)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A small table."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left")
    for column in columns:
        made.add_column(column)
    for row in rows:
        made.add_row(*(Text(visible(cell)) for cell in row))
    _console().print(made)
