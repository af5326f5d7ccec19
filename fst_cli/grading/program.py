"""Run a model's program in a sandbox and bring back plain data.

Whatever a program does is the program's failure; `grader` is kept for a sandbox that did not start. The process that
runs the program is told arguments and never what is expected.
"""

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from fst_cli.grading import program_worker
from fst_cli.grading.sandbox import Ending, Limits, Reply, Sandbox, SandboxError

OutcomeStatus = Literal["ok", "error", "timeout", "memory", "killed", "output_limit", "grader"]


@dataclass(frozen=True)
class Outcome:
    """What came of a call. `value` means something where `status` is ok.

    `error` is the exception's type, or `Unsupported` for a result that is not plain data; `line` is a line of the
    program, 0 where unknown. `grader`: the sandbox failed.
    """

    status: OutcomeStatus
    value: Any = None
    error: str = ""
    message: str = ""
    line: int = 0


@dataclass(frozen=True)
class ScriptResult:
    """What came of a script: `status` is ok where it ended itself with exit code 0. `code` is 128 + n for signal n."""

    status: OutcomeStatus
    compiled: bool = True
    stdout: str = ""
    stderr: str = ""  # its tail
    code: int = 0
    error: str = ""
    message: str = ""
    line: int = 0


class Program:
    """A loaded program whose functions can be called. `loaded` says whether it compiles and runs.

    `prelude` (imports, helpers) runs before it, without the name `entry`; with `packages` it can import what is
    installed here. A call that times out ends the process: all later ones have the same outcome. Use it in one thread,
    in a `with` statement.

    Raises RunError where the machine has no sandbox (`sandbox.level`).
    """

    def __init__(
        self,
        source: str,
        limits: Limits | None = None,
        prelude: str = "",
        entry: str = "",
        packages: bool = False,
    ) -> None:
        self._ended: Outcome | None = None
        self._sandbox: Sandbox | None = None
        try:
            self._sandbox = Sandbox(worker_code(), limits or Limits(), packages=packages)
        except SandboxError as error:
            self._ended = Outcome("grader", error="SandboxError", message=str(error))
        self.loaded = self._ask(("load", _utf8(source), prelude, entry))

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def call(self, path: str, args: Iterable[Any] = (), kwargs: dict[str, Any] | None = None) -> Outcome:
        """Call `name`, or `Name().method`, with plain data."""
        return self._ask(("call", path, tuple(args), kwargs or {}))

    def _ask(self, message: tuple[Any, ...]) -> Outcome:
        if self._ended is not None or self._sandbox is None:
            return self._ended or Outcome("grader")
        reply = self._sandbox.ask(message)
        if reply.ending:
            self._ended = ending_of(self._sandbox, reply.ending)
            return self._ended
        outcome = _outcome(reply)
        if outcome.status == "killed":
            self._ended = outcome
        return outcome

    def close(self) -> None:
        """Kill the process and all that it started."""
        if self._sandbox is not None:
            self._sandbox.close()


def run_script(source: str, stdin: str = "", limits: Limits | None = None) -> ScriptResult:
    """Run a program as a script.

    Raises RunError where the machine has no sandbox.
    """
    return next(iter(run_scripts(source, [stdin], limits)))


def run_scripts(source: str, stdins: Iterable[str], limits: Limits | None = None) -> Iterable[ScriptResult]:
    """Run a script on every input: one sandbox, a forked child with fresh state and its own time for each.

    Lazy: close the iterator and the rest is never run. Raises RunError where the machine has no sandbox.
    """
    limits = limits or Limits()
    source = _utf8(source)
    try:
        sandbox = Sandbox(worker_code(), limits)
    except SandboxError as error:
        yield from (ScriptResult("grader", error="SandboxError", message=str(error)) for _ in stdins)
        return
    ended: ScriptResult | None = None
    with sandbox:
        for stdin in stdins:
            if ended is None:
                request = ("script", source, _utf8(stdin).encode(), limits.wall)
                reply = sandbox.ask(request, limits.wall + 2.0)  # the worker keeps the time; this is for a dead one
                result = _script_result(sandbox, reply)
                ended = result if reply.ending or (result.status == "killed" and result.error) else None
            yield ended or result


@functools.cache
def worker_code() -> CodeType:
    """The worker, compiled; its source is never imported inside."""
    return compile(Path(program_worker.__file__).read_text(encoding="utf-8"), "<worker>", "exec")


def _utf8(text: str) -> str:
    """`text` without lone surrogates, which a model's sampler can make and no file can hold."""
    return text.encode("utf-8", "replace").decode()


def ending_of(sandbox: Sandbox, ending: Ending) -> Outcome:
    """Why a program's process gives no reply. Ends it."""
    if ending != "gone":
        sandbox.close()
        return Outcome(ending, message="took too long" if ending == "timeout" else "wrote too much")
    code = sandbox.status()
    if code == 128 + 24:  # SIGXCPU
        return Outcome("timeout", message="used up its processor time")
    said = sandbox.errors.decode(errors="replace").strip()
    if "MemoryError" in said[-200:] or "Cannot allocate memory" in said[-200:]:
        return Outcome("memory", error="MemoryError")
    return Outcome("killed", message=f"the program ended its process (status {code})")


def parse(line: bytes) -> dict[str, Any]:
    """A reply as an object of one entry; {} where it is garbage, which a program may write."""
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return reply if isinstance(reply, dict) and len(reply) == 1 else {}


def _outcome(reply: Reply) -> Outcome:
    message = parse(reply.line)
    if "error" in message:
        return Outcome(**_raised(message["error"]))
    if "ok" not in message:
        return Outcome("killed", error="ProtocolError", message="the program broke its own process")
    try:
        return Outcome("ok", decode(message["ok"]))
    except UnsupportedError as error:
        return Outcome("error", error="Unsupported", message=f"returned {error}, which is not plain data")
    except (ValueError, TypeError, RecursionError, KeyError, OverflowError):
        return Outcome("killed", error="ProtocolError", message="the program broke its own process")


def _raised(error: Any) -> dict[str, Any]:
    error = error if isinstance(error, dict) else {}
    line = error.get("line")
    name = str(error.get("type", ""))[:100]
    return {
        "status": "memory" if name == "MemoryError" else "error",
        "error": name,
        "message": str(error.get("message", ""))[:500],
        "line": line if isinstance(line, int) else 0,
    }


def _script_result(sandbox: Sandbox, reply: Reply) -> ScriptResult:
    if reply.ending:
        outcome = ending_of(sandbox, reply.ending)
        return ScriptResult(outcome.status, error=outcome.error or "Ended", message=outcome.message)
    message = parse(reply.line)
    if "error" in message:
        return ScriptResult(compiled=False, code=1, **_raised(message["error"]))
    found = message.get("script")
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("out", "err", "ending")):
        return ScriptResult("killed", error="ProtocolError", message="the program broke its own process")
    texts = {"stdout": found["out"], "stderr": found["err"]}
    code = found["status"] if isinstance(found.get("status"), int) else -1
    if found["ending"] in ("timeout", "output_limit"):
        return ScriptResult(found["ending"], code=code, **texts)
    note = parse(str(found.get("detail")).encode()).get("error")
    if note is not None:
        return ScriptResult(code=code, **texts, **_raised(note))
    if code == 128 + 24:
        return ScriptResult("timeout", code=code, message="used up its processor time", **texts)
    if code > 128:
        return ScriptResult("killed", code=code, message=f"killed by signal {code - 128}", **texts)
    if code:
        return ScriptResult("error", code=code, error="SystemExit", message=f"exit status {code}", **texts)
    return ScriptResult("ok", code=code, **texts)


class UnsupportedError(Exception):
    """A result that is not plain data."""


def decode(value: Any) -> Any:
    """Plain data from tagged JSON (see `program_worker`).

    Raises UnsupportedError for a result that is not plain data, ValueError, TypeError or KeyError for no such JSON.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    [(tag, inner)] = value.items()
    if tag == "unsupported":
        raise UnsupportedError(str(inner)[:100])
    return _DECODERS[tag](inner)


def _hashable(items: list[Any]) -> list[Any]:
    """Refuse items made to collide, whose set would take us hours (2**61 - 1 and its multiples have one hash)."""
    if len({hash(item) for item in items}) * 16 + 16 < len(items):
        raise ValueError("colliding items")
    return items


def _decode_dict(pairs: list[Any]) -> dict[Any, Any]:
    keys = _hashable([decode(key) for key, _ in pairs])
    return dict(zip(keys, (decode(item) for _, item in pairs), strict=True))


_DECODERS: dict[str, Any] = {
    "tuple": lambda items: tuple(decode(item) for item in items),
    "set": lambda items: set(_hashable([decode(item) for item in items])),
    "frozenset": lambda items: frozenset(_hashable([decode(item) for item in items])),
    "dict": _decode_dict,
    "bytes": bytes.fromhex,
    "int": lambda text: int(text, 16),
    "float": lambda text: float(text) if text in ("nan", "inf", "-inf") else math.nan,
    "complex": lambda parts: complex(float(parts[0]), float(parts[1])),
}


def short(value: object, length: int = 200) -> str:
    """A value in words for a feedback: its repr, cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes; a deep list
        text = "a value too long to write"
    return text if len(text) <= length else f"{text[: length - 4]} ..."
