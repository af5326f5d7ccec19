"""One process at a time on a run directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from fst_cli.data.errors import UsageError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run; the system gives it back however the process ends.

    The lock lies beside the folder, as --overwrite deletes the folder itself. Raises UsageError where another process
    holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f".{folder.name}.lock"
    with _taken(path, folder) as stream:
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _taken(path: Path, folder: Path) -> TextIO:
    """The lock's file, locked; opened again where its last holder has just deleted it."""
    while True:
        stream = path.open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "?"
            stream.close()
            raise UsageError(
                f"process {holder} is running {folder}", hint="wait until it ends, or give another --out"
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(stream.fileno()).st_ino:
                return stream
        stream.close()
