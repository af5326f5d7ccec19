"""Files that appear whole or not at all: written to a temporary sibling, flushed, then renamed (PITFALLS 17)."""

import contextlib
import functools
import hashlib
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from fst_cli.data.errors import DataError, RunError, UsageError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that replaces `path` when the block ends without an error."""
    make_parent(path)
    temporary = _sibling(path, "tmp")
    try:  # the file is made inside: an interrupt between the two would leave it behind
        with _told(path):
            yield temporary
        with unbroken():
            temporary.chmod(0o666 & ~_umask())
            _sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends without an error.

    A folder that is already at `path` is replaced.
    """
    make_parent(path)
    temporary = _sibling(path, "tmp")
    try:
        temporary.mkdir()
        with unbroken(), _told(path):
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in temporary.rglob("*"):
                file.chmod((0o777 if file.is_dir() else 0o666) & ~_umask())
                _sync(file)
            if path.exists():
                old = _sibling(path, "old")
                old.mkdir()
                path.replace(old / path.name)
                temporary.replace(path)
                shutil.rmtree(old)
            else:
                temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync(path.parent)


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Heed a first Ctrl-C when the block has ended, a second one at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []

    def later(number: int, frame: Any) -> None:
        heard.append(number)
        if len(heard) > 1:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, or an outer block or an application heeds it its own way
        yield
        return
    signal.signal(signal.SIGINT, later)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Safetensors tells of a full disk by an error of its own.

    Raises RunError in its place.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "SafetensorError":
            raise RunError(f"{path} cannot be written: {error}") from None
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one indented JSON object, atomically."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    with atomic_file(path) as temporary:
        temporary.write_bytes(orjson.dumps(value, option=options))


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises DataError where the file is missing or not a JSON object.
    """
    try:
        value = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except orjson.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: not a JSON object")
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file, or of all the files of a folder with their names (stage.json apart).

    What was pruned to save space still has the digest that it had.
    """
    if not path.exists() and pruned_path(path).exists():
        return str(read_json(pruned_path(path))["sha256"])
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "stage.json")
        names = "\n".join(f"{file.relative_to(path)} {sha256(file)}" for file in files)
        return hashlib.sha256(names.encode()).hexdigest()
    status = path.stat()
    return _file_digest(path.resolve(), status.st_size, status.st_mtime_ns, status.st_ino)


def pruned_path(path: Path) -> Path:
    """What is left in the place of a pruned file or folder."""
    return path.with_name(f"{path.name}.pruned.json")


def prune(path: Path) -> None:
    """Delete a file or folder that nothing will read again, and keep its digest."""
    if not path.exists():
        return
    write_json(pruned_path(path), {"sha256": sha256(path)})
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@functools.lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, modified: int, inode: int) -> str:
    """Digest of a file; computed again only once the file has changed (weights are large and often asked for)."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sweep(folder: Path) -> None:
    """Delete the temporary siblings that a killed process left under `folder`."""
    for path in [*folder.rglob(".*.tmp"), *folder.rglob(".*.old")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def make_parent(path: Path) -> None:
    """Make the folder that `path` lies in.

    Raises UsageError where that can't be done.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent}: {error.strerror}") from None


def _sibling(path: Path, kind: str) -> Path:
    """A free name beside `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{kind}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
