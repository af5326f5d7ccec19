"""Start Python code in the strongest isolation that the machine offers, talk to it in messages, and kill it.

Levels, strongest first:

- `bubblewrap`: bwrap sets the namespaces and mounts up; we drop root and set the limits inside.
- `namespaces`: our own launcher does the same with plain system calls (`sandbox_launcher.py`).
- `none`: a process group and resource limits. The program can read what you can and, unless you are root (it gets a uid
  of its own then), write what you can; it has the network. Only for FST_SANDBOX=none.

In the first two there are no network, no /proc, no host files but a read-only Python and /usr; a 32 MiB tmpfs is the
working directory. As root, every sandbox has a uid of its own: root is exempt from RLIMIT_NPROC, and the limit counts
per uid. Memory is limited per process (RLIMIT_AS), not in sum.
"""

import contextlib
import functools
import itertools
import marshal
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Literal

from fst_cli.data.errors import RunError, UsageError
from fst_cli.grading import sandbox_launcher

Level = Literal["bubblewrap", "namespaces", "none"]
Ending = Literal["timeout", "output_limit", "gone"]

START_LIMIT = 30.0  # seconds for a start on a crowded machine
DISK = 32 << 20  # bytes of the working directory
_BOOT = (
    "import marshal, sys; config = marshal.loads(bytes.fromhex(''.join(sys.argv[1:]))); "
    "exec(config['code'], {'__name__': '__main__', 'CONFIG': config})"
)
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_starts = itertools.count()


class SandboxError(RunError):
    """The sandbox did not start: the grader's failure, not the program's."""


@dataclass(frozen=True)
class Limits:
    """What a program may use. `wall` is for one call or script, `total` for all that one process does."""

    wall: float = 10.0  # seconds
    total: float = 60.0  # seconds
    cpu: int = 60  # seconds, of one process
    memory: int = 1 << 30  # bytes of address space, of one process
    file_size: int = 16 << 20  # bytes
    processes: int = 16  # and threads
    output: int = 1 << 20  # bytes of one reply, of one script's output, and of all that calls print
    open_files: int = 64


def isolation() -> str:
    """The level that programs run under on this machine, for reports.

    Raises RunError where there is none and FST_SANDBOX=none is not set, UsageError for an unknown FST_SANDBOX.
    """
    return level(os.environ.get("FST_SANDBOX", "auto"))


@functools.cache
def level(wanted: str) -> Level:
    """The level that `wanted` (a level or `auto`) stands for, tried once by starting a process under it.

    Raises RunError where it does not work, UsageError for an unknown one.
    """
    if wanted == "none":
        return "none"
    known: dict[str, list[Level]] = {"bubblewrap": ["bubblewrap"], "namespaces": ["namespaces"]}
    known["auto"] = ["bubblewrap", "namespaces"]
    if wanted not in known:
        raise UsageError(f"FST_SANDBOX={wanted}: no such level", hint="auto, bubblewrap, namespaces or none")
    refusals = []
    for candidate in known[wanted]:
        refusal = probe(candidate)
        if refusal is None:
            return candidate
        refusals.append(f"{candidate}: {refusal}")
    raise RunError(
        f"no sandbox for the model's programs ({'; '.join(refusals)})",
        hint="install bubblewrap, or allow user namespaces (Ubuntu: `sysctl -w "
        "kernel.apparmor_restrict_unprivileged_userns=0`); on a machine you can lose, FST_SANDBOX=none does without",
    )


def probe(candidate: Level) -> str | None:
    """Start a process under `candidate`; None if it works, else what the machine said."""
    if candidate == "bubblewrap" and shutil.which("bwrap") is None:
        return "bwrap is not on PATH"
    hello = compile("import os; os.write(1, b'ready\\n')", "<probe>", "exec")
    try:
        with Sandbox(hello, Limits(), candidate):
            return None
    except SandboxError as error:
        return str(error)


@dataclass(frozen=True)
class Reply:
    """One line of the process, or why there is none."""

    line: bytes = b""
    ending: Ending | None = None


class Sandbox:
    """A process that runs `worker` (compiled here, standard library only) and answers messages with lines.

    Its first line must be `ready`; with `packages` it can import what is installed here. Messages to it are marshalled
    (the direction is from us to the program; nothing that comes back is ever unmarshalled). One thread at a time, and
    under bubblewrap it ends with the thread that opened it.

    Raises SandboxError where the process does not start, RunError where no isolation is available.
    """

    def __init__(self, worker: CodeType, limits: Limits, under: Level | None = None, packages: bool = False) -> None:
        self.limits = limits
        extra = _package_folders() if packages else ()
        self.level: Level = under or level(os.environ.get("FST_SANDBOX", "auto"))
        self.errors = bytearray()  # the tail of standard error
        self._noise = 0  # bytes of standard error so far
        self._lines = bytearray()
        self._folder = tempfile.mkdtemp(prefix="fst-sandbox-") if self.level == "none" else None
        config = _config(self.level, limits, worker, extra)
        if self._folder and config["uid"] is not None:
            os.chown(self._folder, config["uid"], config["uid"])
        try:
            self._process = subprocess.Popen(
                [*_wrapper(self.level, extra), *_python(), "-c", _BOOT, *_arguments(config)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                env={**_ENVIRONMENT, **({"TMPDIR": self._folder} if self._folder else {})},
                cwd=self._folder or "/", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._remove_folder()
            raise SandboxError(f"the sandbox did not start: {error}") from error
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        self._await_ready()
        self._deadline = time.monotonic() + limits.total

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _await_ready(self) -> None:
        try:
            reply = self._exchange(b"", time.monotonic() + START_LIMIT)
        except BaseException:
            self.close()
            raise
        if reply.line != b"ready":
            self.close()
            said = self.errors.decode(errors="replace").strip().splitlines()[-1:] or [reply.ending or "no word"]
            raise SandboxError(f"the sandbox did not start: {said[0]}")

    def ask(self, message: Any, wall: float | None = None) -> Reply:
        """Send a message of plain data and wait for one line, `wall` seconds at most and no longer than the total."""
        data = marshal.dumps(message)
        deadline = time.monotonic() + (self.limits.wall if wall is None else wall)
        return self._exchange(len(data).to_bytes(8, "big") + data, min(deadline, self._deadline))

    def listen(self) -> Reply:
        """Wait for a line more."""
        return self._exchange(b"", min(time.monotonic() + self.limits.wall, self._deadline))

    def status(self) -> int:
        """The exit status of a process that is gone, 128 + n for signal n; kills one that only closed its output."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self.close()
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def _exchange(self, data: bytes, deadline: float) -> Reply:
        stdin, stdout, stderr = (pipe.fileno() for pipe in self._pipes())
        poll = select.poll()
        poll.register(stdout, select.POLLIN)
        poll.register(stderr, select.POLLIN)
        if data:
            poll.register(stdin, select.POLLOUT)
        rest = memoryview(data)
        while b"\n" not in self._lines:
            if len(self._lines) > 2 * self.limits.output + 4096 or self._noise > self.limits.output:
                return Reply(ending="output_limit")
            remaining = deadline - time.monotonic()
            events = dict(poll.poll(remaining * 1000)) if remaining > 0 else {}
            if not events:
                return Reply(ending="timeout")
            if stderr in events and not self._read_errors(stderr):
                poll.unregister(stderr)
            if stdin in events:
                rest = self._write(stdin, rest)
                if not rest:
                    poll.unregister(stdin)
            if stdout in events:
                chunk = os.read(stdout, 1 << 16)
                if not chunk:
                    self._read_errors(stderr)
                    return Reply(ending="gone")
                self._lines += chunk
        line, _, self._lines = self._lines.partition(b"\n")
        return Reply(bytes(line))

    @staticmethod
    def _write(stdin: int, rest: memoryview) -> memoryview:
        try:
            return rest[os.write(stdin, rest[: 1 << 16]) :]
        except BlockingIOError:
            return rest
        except BrokenPipeError:
            return rest[:0]  # the end of its output says the rest

    def _read_errors(self, stderr: int) -> bool:
        """Whether there may be more."""
        try:
            chunk = os.read(stderr, 1 << 16)
        except BlockingIOError:
            return True
        self._noise += len(chunk)
        self.errors = (self.errors + chunk)[-4096:]
        return bool(chunk)

    def _pipes(self) -> Iterator[Any]:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            yield pipe

    def close(self) -> None:
        """Kill everything inside and wait until it is gone."""
        stdin, stdout, stderr = self._pipes()
        if not stdin.closed:
            stdin.close()  # the launcher's signal; it returns when all are dead
            if self.level == "bubblewrap":
                self._process.kill()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self.level == "bubblewrap":
                _drain(stdout.fileno())
            stdout.close()
            stderr.close()
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _drain(pipe: int) -> None:
    """Wait for the end of the output: bwrap's death kills the rest, but does not wait for it."""
    deadline = time.monotonic() + 2.0
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000) and os.read(pipe, 1 << 16):
        pass


@functools.cache
def _launcher() -> CodeType:
    return compile(Path(sandbox_launcher.__file__).read_text(encoding="utf-8"), "<launcher>", "exec")


def _config(under: Level, limits: Limits, worker: CodeType, packages: tuple[str, ...]) -> dict[str, Any]:
    binds, links = _host_paths()
    as_root = os.getuid() == 0
    old_kernel = tuple(int(part) for part in platform.release().split(".")[:2] if part.isdigit()) < (5, 14)
    return {
        **asdict(limits),
        "level": under, "worker": worker, "code": _launcher(), "disk": DISK,
        "binds": [*binds, *packages], "links": links, "packages": packages,
        "uid": _fresh_uid() if as_root else None,
        # Since Linux 5.14 the processes of a user namespace are counted apart.
        "shared_uid": not as_root and (under == "none" or old_kernel),
    }  # fmt: skip


@functools.cache
def _host_paths() -> tuple[list[str], list[tuple[str, str]]]:
    """What of the host is seen inside: paths to bind read-only, and links (path, target) to make."""
    binds, links = ["/usr"], []
    for path in ("/lib", "/lib32", "/lib64", "/bin", "/sbin"):
        if Path(path).is_symlink():
            links.append((path, str(Path(path).readlink())))
        elif Path(path).is_dir():
            binds.append(path)
    prefix = os.path.realpath(sys.base_prefix)
    binds += [path for path in (prefix, "/etc/ld.so.cache") if not path.startswith("/usr/") and Path(path).exists()]
    return binds, links


def _package_folders() -> tuple[str, ...]:
    """Where installed packages lie, beside what every sandbox has."""
    return tuple(path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and Path(path).is_dir())


def _fresh_uid() -> int:
    """A uid that no account and no other sandbox has, from the upper half of those that exist here."""
    with open("/proc/self/uid_map") as file:  # noqa: PTH123
        half = int(file.readline().split()[2]) // 2
    return half + (os.getpid() * 1024 + next(_starts) % 1024) % half


def _python() -> list[str]:
    return [os.path.realpath(sys.executable), "-I", "-S", "-B"]


def _arguments(config: dict[str, Any]) -> list[str]:
    """The configuration as arguments; Linux takes 128 KiB in one."""
    text, size = marshal.dumps(config).hex(), 1 << 16
    return [text[start : start + size] for start in range(0, len(text), size)]


def _wrapper(under: Level, packages: tuple[str, ...]) -> list[str]:
    if under != "bubblewrap":
        return []
    binds, links = _host_paths()
    command = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--new-session"]
    for kind in ("ipc", "pid", "net", "uts", "cgroup-try", *(["user"] if os.getuid() else [])):
        command.append(f"--unshare-{kind}")
    # Before the binds: packages may lie under /tmp, in a temporary virtual environment.
    command += ["--perms", "1777", "--size", str(DISK), "--tmpfs", "/tmp"]
    for path in [*binds, *packages]:
        for parent in list(Path(path).parents)[-2::-1]:  # left alone, bwrap makes them 0700
            if str(parent) == "/tmp":
                continue
            command += ["--perms", "0755", "--dir", str(parent)]
        command += ["--ro-bind", path, path]
    for path, target in links:
        command += ["--symlink", target, path]
    command += ["--perms", "0755", "--dir", "/dev"]
    for name in ("null", "zero", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    command += ["--chdir", "/tmp", "--remount-ro", "/"]
    if os.getuid() == 0:  # for the launcher, which becomes the sandbox's own uid and drops them
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            command += ["--cap-add", capability]
    return [*command, "--"]
