"""Whether two answers are the same mathematical value.

Plain numbers are compared here. Everything else goes to math-verify in a worker process that is killed at a
wall-clock limit: its parser can hang, and its own time limit fails off the main thread (PITFALLS 6). There are as many
workers as processors, each started when all others are busy.
"""

import atexit
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from fractions import Fraction

from fst_cli.data.records import RewardStatus

TIME_LIMIT = 5.0  # seconds for one comparison
START_LIMIT = 60.0  # seconds for the worker to import math-verify
MAX_LENGTH = 2000  # characters; nobody's answer is longer, and the parser's time grows faster than the length


@dataclass(frozen=True)
class Verdict:
    """`equal` means something only where `status` is ok."""

    equal: bool
    status: RewardStatus = "ok"


def equal(gold: str, answer: str, limit: float = TIME_LIMIT) -> Verdict:
    """Compare an answer with the gold one. An answer of more than `MAX_LENGTH` characters is not equal."""
    if gold.strip() == answer.strip():
        return Verdict(True)
    if len(answer) > MAX_LENGTH or (explodes(answer) and not explodes(gold)):
        return Verdict(False)
    left, right = plain_number(gold), plain_number(answer)
    if left is not None and right is not None:
        return Verdict(left == right)
    return _POOL.compare(gold, answer, limit)


# Powers of powers, exponents of five digits, factorials of factorials or of five digits: an evaluation without end.
_EXPLODES = re.compile(
    r"\^\s*\{?[\d\s.]*\d[\d\s.]*\^|(?:\^|\*\*)\s*[{(]?\s*\d{5,}|\*\*[\s\d]*\*\*|!\s*!|\d{5,}\s*!", re.ASCII
)
_PLAIN = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:/\d+)?", re.ASCII)
_INSIDE = re.compile(r"(?<![\d.,])-?(?:\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.\d{1,30})?(?![\d,.]*\d)", re.ASCII)


def explodes(text: str) -> bool:
    """Whether an answer asks for a number that no machine writes down."""
    return bool(_EXPLODES.search(text))


def plain_number(text: str) -> Fraction | None:
    """The value of `1,200`, `-0.5` or `3/4`, also between dollar signs; None for anything else."""
    text = text.strip().strip("$").removesuffix(".")
    if len(text) > 50 or not _PLAIN.fullmatch(text):
        return None
    try:
        return Fraction(text.replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None


def numbers_of(text: str) -> list[Fraction]:
    """The plain numbers in a text."""
    return [Fraction(number.replace(",", "")) for number in _INSIDE.findall(text[:1000])]


class _Worker:
    """One child process, started at the first comparison and again after a kill. One thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lines = b""

    def compare(self, gold: str, answer: str, limit: float) -> Verdict:
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps([gold, answer]).encode() + b"\n")
            reply = self._reply(process, limit)
        except (EOFError, OSError):
            self.stop()
            return Verdict(False, "error")
        if reply is None:
            self.stop()
            return Verdict(False, "timeout")
        return Verdict(reply == b"1", "ok" if reply in (b"0", b"1") else "error")

    def stop(self) -> None:
        """Kill the child."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process, self._lines = None, b""

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is None:
            command = [sys.executable, "-m", "fst_cli.grading.math_worker"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
            if self._reply(self._process, START_LIMIT) != b"ready":
                raise EOFError
        return self._process

    def _reply(self, process: subprocess.Popen[bytes], limit: float) -> bytes | None:
        """One line from the child; None at the time limit.

        Raises EOFError where the child is gone.
        """
        assert process.stdout is not None
        deadline = time.monotonic() + limit
        while b"\n" not in self._lines:
            # poll, because select refuses descriptors above 1023, which a large run has
            poll = select.poll()
            poll.register(process.stdout, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                raise EOFError
            self._lines += chunk
        line, _, self._lines = self._lines.partition(b"\n")
        return line.strip()


class _Pool:
    """Workers for several threads; a thread waits where all are busy, and its time runs only from its turn."""

    def __init__(self, size: int) -> None:
        self.idle: list[_Worker] = []
        self.all: list[_Worker] = []
        self._free = threading.Semaphore(size)
        self._lock = threading.Lock()
        atexit.register(self.stop)

    def compare(self, gold: str, answer: str, limit: float) -> Verdict:
        """One comparison by an idle worker, the last used first."""
        with self._free:
            with self._lock:
                if not self.idle:
                    self.idle.append(_Worker())
                    self.all.append(self.idle[-1])
                worker = self.idle.pop()
            try:
                return worker.compare(gold, answer, limit)
            finally:
                with self._lock:
                    self.idle.append(worker)

    def stop(self) -> None:
        """Kill all children."""
        for worker in self.all:
            worker.stop()


_POOL = _Pool(os.cpu_count() or 1)
