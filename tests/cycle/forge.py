"""A process that has imported everything and forks a child for each `fst` command: starting one takes no seconds.

Used by the fault tests, which start and kill `fst` many times. The child is a process of its own, in a session of its
own, with its standard error in a file.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import json, os, sys
import fst_cli.cycle.run, fst_cli.cycle.start, fst_cli.policy.model, peft, torch, transformers
from fst_cli import app
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(order["cwd"])
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 2), os.dup2(os.open(os.devnull, os.O_RDWR), 1), os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        sys.argv = ["fst", *order["arguments"]]
        code = 0
        try:
            app.main()
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Forge:
    """Starts one `fst` at a time."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", PARENT]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._parent = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._parent.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._parent.stdin.close()
        self._parent.wait()

    def start(self, cwd: Path, *arguments: str) -> "Child":
        import json

        log = cwd.with_name(f"{cwd.name}.stderr.log")  # not on the disk that a test fills
        log.unlink(missing_ok=True)
        order = {"cwd": str(cwd), "log": str(log), "arguments": list(arguments)}
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return Child(int(self._parent.stdout.readline()), log, self._parent)

    def run(self, cwd: Path, *arguments: str) -> tuple[int, str]:
        """Exit code and standard error."""
        child = self.start(cwd, *arguments)
        return child.wait(), child.said()


class Child:
    """A running `fst`."""

    def __init__(self, pid: int, log: Path, parent: subprocess.Popen) -> None:
        self.pid, self._log, self._parent = pid, log, parent
        self._code: int | None = None

    def said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def wait(self) -> int:
        """Its exit code; of a killed one the negative number of the signal."""
        if self._code is None:
            self._code = int(self._parent.stdout.readline())
        return self._code

    def alive(self) -> bool:
        return self._code is None and Path(f"/proc/{self.pid}/stat").exists() and not self._zombie()

    def _zombie(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    def wait_for(self, text: str, seconds: float = 120) -> bool:
        """Whether it says this before it ends."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if text in self.said():
                return True
            if not self.alive():
                return text in self.said()
            time.sleep(0.003)
        raise TimeoutError(f"{text!r} was not said: {self.said()}")

    def signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            assert not self.alive()

    def kill(self) -> None:
        """As a power cut: with all it started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            assert not self.alive()
