"""One error type per kind of failure; `app.py` maps each to its exit code."""

from typing import Any

from fst_cli.data.text import without_credentials, without_secrets


class FstError(Exception):
    """A failure with one clear sentence and, where there is one, the fix.

    `code` is the exit status: 1 run failed, 2 usage or configuration, 3 bad input data. The sentence holds no secret.
    """

    code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(without_secrets(message))
        self.hint = hint


class RunError(FstError):
    """The run itself failed (out of memory, too many grader errors, a server that is gone)."""


class UsageError(FstError):
    """Options or configuration make no sense."""

    code = 2


class DataError(FstError):
    """A file or standard input does not hold what it should."""

    code = 3


class ReaderGoneError(FstError):
    """Standard output was closed by its reader; nothing to say, and nobody to say it to."""

    code = 141


def nearest(word: str, known: list[str]) -> str:
    """A hint that names the known name nearest to `word`, or all of them."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else f"known: {', '.join(known)}"


def bad_settings(error: Any, known: list[str], as_options: bool = False) -> UsageError:
    """The first finding of a pydantic ValidationError over settings, in one sentence."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return UsageError(f"configuration: unknown key `{name}`", hint=nearest(name, known))
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if as_options:
        given = without_credentials(str(first["input"]))
        return UsageError(f"--{name.replace('_', '-')} {given}: {message}" if name else message)
    return UsageError(f"configuration: {name + ': ' if name else ''}{message}")
