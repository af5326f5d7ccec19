"""Runs a program, or the tests of one, inside a sandbox. Standard library only; it must not import fst_cli.

Requests come as marshalled tuples with a length in front (see `Sandbox.ask`), replies go out as one line of JSON each:

- ("load", source, prelude, entry): run the program as a module. -> {"ok": null}
- ("call", path, args, kwargs): call `name` or `Name().method`. -> {"ok": value}
- ("script", source, stdin, seconds): run the program as a script in a forked child. -> {"script": {...}}
- ("tests", setup, tests, stubs, entry): run tests whose stubs ask the other process. -> {"ask": ...}, ... {"ok": null}

and {"error": {"type", "message", "line"}} where the program raised. Values are JSON with a tag for whatever JSON lacks:
{"tuple": [...]}, {"dict": [[key, value], ...]}, {"set"}, {"frozenset"}, {"bytes": hex}, {"complex": [a, b]},
{"int": hex}, {"float": "nan"}, {"unsupported": type}. Only exact built-in types (and the standard library's dicts, as
dicts) become values: what a program returns is compared outside as plain data, so its own `__eq__` never runs.

json and signal are not imported: each takes as long as Python's start.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

MAX_DEPTH = 200
PROGRAM, TESTS = "<program>", "<tests>"


class Unsupported(Exception):  # noqa: N818  (a finding, not an error)
    """A value that is not plain data."""


def quoted(text: str) -> str:
    """A JSON string in ASCII."""
    try:
        from _json import encode_basestring_ascii
    except ImportError:  # another Python than CPython
        from json.encoder import py_encode_basestring_ascii as encode_basestring_ascii
    return encode_basestring_ascii(text)


def encode(value: object, limit: int) -> str:
    """The value as tagged JSON, {"unsupported": ...} where a part of it is no plain data or it is too large."""
    parts: list[str] = []
    try:
        _Encoder(parts.append, limit).add(value, 0)
    except Unsupported as error:
        return f'{{"unsupported":{quoted(str(error))}}}'
    return "".join(parts)


class _Encoder:
    def __init__(self, emit: Callable[[str], None], limit: int) -> None:
        self.emit, self.left = emit, limit

    def add(self, value: Any, depth: int) -> None:
        kind = type(value)
        if depth > MAX_DEPTH:
            raise Unsupported("a value nested too deep")
        if kind is list:
            self.sequence(value, depth)
        elif kind in (tuple, set, frozenset):
            self.write(f'{{"{kind.__name__}":')
            self.sequence(value, depth)
            self.write("}")
        elif kind is dict or (kind.__module__ == "collections" and isinstance(value, dict)):
            self.write('{"dict":')
            self.sequence([[key, item] for key, item in dict.items(value)], depth)
            self.write("}")
        else:
            self.write(_scalar(value, kind, self.left))

    def sequence(self, items: Any, depth: int) -> None:
        self.write("[")
        for index, item in enumerate(items):
            if index:
                self.write(",")
            self.add(item, depth + 1)
        self.write("]")

    def write(self, text: str) -> None:
        self.left -= len(text)
        if self.left < 0:
            raise Unsupported("a value too large")
        self.emit(text)


def _scalar(value: Any, kind: type, limit: int) -> str:
    if value is None or kind is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if kind is int:
        return str(value) if -(1 << 63) < value < 1 << 63 else f'{{"int":"{value:x}"}}'
    if kind is float:
        return repr(value) if value - value == 0 else f'{{"float":"{value!r}"}}'
    if kind is str:
        return quoted(value) if len(value) <= limit else '"' * (limit + 1)
    if kind is bytes:
        return f'{{"bytes":"{value.hex()}"}}'
    if kind is complex:
        return f'{{"complex":["{value.real!r}","{value.imag!r}"]}}'
    raise Unsupported(kind.__name__)


def _error(error: BaseException, file: str) -> str:
    """What was raised, and the last line of `file` that it came through."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno or 0
        message = error.msg
    else:
        try:
            message = str(error)
        except BaseException:
            message = ""
    name = type(error).__name__
    return f'{{"type":{quoted(name[:100])},"message":{quoted(str(message)[:500])},"line":{line}}}'


class Worker:
    """The loop of requests; `out` and `inp` are descriptors of our own, standard ones are the program's."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inp, self.out = os.dup(0), os.dup(1)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)  # what the program prints in a call goes where errors go: counted, not mixed with the protocol
        self.names: dict[str, Any] = {}
        self.compiled: tuple[str, Any] = ("", None)
        self.write = os.write  # the program may patch the module

    def send(self, line: str) -> None:
        """Send one line."""
        data = memoryview(line.encode("ascii") + b"\n")
        while data:
            data = data[self.write(self.out, data) :]

    def receive(self) -> Any:
        """The next request; does not return where there is none."""
        import marshal

        return marshal.loads(self._read(int.from_bytes(self._read(8), "big")))

    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            part = os.read(self.inp, min(size, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def serve(self) -> NoReturn:
        """Answer requests until the parent hangs up."""
        self.send("ready")
        while True:
            request = self.receive()
            self.send(self.answer(request[0], request[1:]))

    def answer(self, kind: str, values: tuple[Any, ...]) -> str:
        """The reply to one request."""
        file = TESTS if kind == "tests" else PROGRAM
        try:
            if kind == "script":
                return self.script(*values)
            handlers: dict[str, Callable[..., Any]] = {"load": self.load, "call": self.call, "tests": self.tests}
            result = handlers[kind](*values)
            return f'{{"ok":{encode(result, self.limit)}}}'
        except BaseException as error:
            if isinstance(error, RecursionError):
                sys.setrecursionlimit(10_000)  # the program may have left it too low for us
            return f'{{"error":{_error(error, file)}}}'

    def load(self, source: str, prelude: str, entry: str) -> None:
        """Run the program as a module; `prelude` (imports, helpers) before it, without its `entry`."""
        self.names = {"__name__": "program", "__builtins__": __builtins__}
        exec(compile(prelude, "<prelude>", "exec"), self.names)
        self.names.pop(entry, None)
        code = compile(source, PROGRAM, "exec", dont_inherit=True)
        exec(code, self.names)

    def call(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call `name` or `Name().method` of the program."""
        owner, _, method = path.partition("().")
        if owner not in self.names:
            raise NameError(f"name '{owner}' is not defined")
        target = self.names[owner]
        if method:
            target = getattr(target(), method)
        return target(*args, **kwargs)

    def tests(self, setup: list[str], tests: list[str], stubs: list[str], entry: str) -> None:
        """Run tests in which every name of `stubs` (and `entry` as the argument of `check`) asks the program."""
        names: dict[str, Any] = {"__name__": "tests", "__builtins__": __builtins__}
        for text in setup:
            exec(compile(text, "<setup>", "exec"), names)
        for stub in stubs:
            names[stub] = self._stub(stub)
        self.send('{"begun":0}')
        for index, text in enumerate(tests):
            if index:
                self.send(f'{{"begun":{index}}}')
            exec(compile(text, TESTS, "exec"), names)
        if entry:
            names["check"](names[entry])

    def _stub(self, name: str) -> Callable[..., Any]:
        def stub(*args: Any, **kwargs: Any) -> Any:
            self.send(f'{{"ask":{encode([name, args, kwargs], 64 * self.limit)}}}')
            value, error = self.receive()
            if error is None:
                return value
            kind = getattr(__import__("builtins"), error[0], RuntimeError)
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                kind = RuntimeError
            try:
                raised = kind(error[1])
            except TypeError:  # UnicodeDecodeError and the like take more
                raised = RuntimeError(error[1])
            raise raised

        stub.__name__ = name
        return stub

    def script(self, source: str, stdin: bytes, seconds: float) -> str:
        """Run the program as a script in a child of its own: fresh state, its own time."""
        if self.compiled[0] != source:
            try:
                self.compiled = (source, compile(source, PROGRAM, "exec", dont_inherit=True))
            except BaseException as error:
                return f'{{"error":{_error(error, PROGRAM)}}}'
        pipes = [os.pipe() for _ in range(3)]  # output, errors, what was raised
        child = os.fork()
        if not child:
            try:
                _run_script(self.compiled[1], stdin, [end for _, end in pipes])
            finally:
                os._exit(70)  # never back into our loop
        for _, end in pipes:
            os.close(end)
        reply = _collect(child, [end for end, _ in pipes], seconds, self.limit)
        for end, _ in pipes:
            os.close(end)
        return reply


def _run_script(code: Any, stdin: bytes, ends: list[int]) -> NoReturn:
    """In the child: become a script."""
    import io

    os.setpgid(0, 0)
    pipe = os.memfd_create("stdin")
    os.write(pipe, stdin)
    os.lseek(pipe, 0, 0)
    notes = 3
    kept = [os.dup(end) for end in (pipe, *ends)]  # above those that are overwritten now
    for target, end in enumerate(kept):
        os.dup2(end, target)
    os.closerange(notes + 1, 256)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0)), encoding="utf-8", newline="\n")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w")), encoding="utf-8")
    sys.argv = ["program.py"]
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    status = 0
    try:
        try:
            exec(code, names)
        finally:
            sys.stdout.flush()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException as error:
        os.write(notes, f'{{"error":{_error(error, PROGRAM)}}}'.encode())
        status = 1
    os._exit(status & 255)


def _collect(child: int, ends: list[int], seconds: float, limit: int) -> str:
    """In the parent: what the script wrote until it ended, or used up its time or its output. Kills it."""
    import select
    import time

    taken = {end: bytearray() for end in ends}
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    watched = os.pidfd_open(child)
    poll.register(watched, select.POLLIN)
    deadline, ending = time.monotonic() + seconds, ""
    open_ends, ended = set(ends), False
    while open_ends and not ending:
        # After the end only what lies in the pipes is read: a daemon may hold them open.
        left = 0.0 if ended else deadline - time.monotonic()
        events = dict(poll.poll(max(0.0, left) * 1000))
        if not events and (ended or left <= 0):
            ending = "" if ended else "timeout"
            break
        if watched in events:
            ended = True
            poll.unregister(watched)
        for end in open_ends & set(events):
            chunk = os.read(end, 1 << 16)
            if not chunk:
                open_ends.discard(end)
                poll.unregister(end)
            taken[end] += chunk
            if end == ends[1]:
                del taken[end][:-4096]
            elif len(taken[end]) > limit:
                ending = "output_limit"
    status = _kill_script(child, watched, ended or (not open_ends and not ending), deadline)
    output, errors, note = (taken[end] for end in ends)
    text = quoted(output.decode("utf-8", "replace"))
    tail = quoted(errors.decode("utf-8", "replace"))
    detail = note.decode("ascii", "replace").replace("\n", " ") if note else "null"
    return f'{{"script":{{"out":{text},"err":{tail},"status":{status},"ending":"{ending}","detail":{quoted(detail)}}}}}'


def _kill_script(child: int, watched: int, may_end: bool, deadline: float) -> int:
    """The script's status; whatever it started is killed with it."""
    import select
    import time

    if may_end:  # it closed its output: give it the rest of its time to end
        select.select([watched], [], [], max(0.05, deadline - time.monotonic()))
    os.close(watched)
    os.kill(child, 9)  # not reaped yet, so the number is still its own
    try:
        if os.getpid() == 2:  # alone in a pid namespace with its process 1
            os.kill(-1, 9)
        else:
            os.killpg(child, 9)
    except ProcessLookupError:
        pass
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    Worker(globals()["OUTPUT"]).serve()
