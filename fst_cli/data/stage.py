"""The `stage.json` that says a stage is complete, what it read and what it wrote.

A stage that writes `NAME.jsonl` ends by writing `NAME.stage.json`; a stage that writes a folder ends by writing
`FOLDER/stage.json`.
"""

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from fst_cli import __version__
from fst_cli.data.errors import DataError
from fst_cli.data.files import pruned_path, read_json, sha256, write_json


class Read(BaseModel):
    """An input as it was read."""

    path: str
    sha256: str


class Mark(BaseModel):
    """A stage.json: what a stage read and wrote, with which settings, in which time, and its figures."""

    command: str
    version: str
    inputs: dict[str, Read]
    settings: dict[str, Any]
    seconds: float
    outputs: dict[str, str] = Field(description="digests by path, from the folder of the mark's output")
    figures: dict[str, Any] = Field(default_factory=dict)


def stage_path(output: Path) -> Path:
    """Where the stage that writes `output` leaves its stage.json."""
    return output / "stage.json" if output.is_dir() or not output.suffix else output.with_suffix(".stage.json")


@contextlib.contextmanager
def stage(
    command: str,
    output: Path | str,
    inputs: Mapping[str, Path | str | None],
    settings: Mapping[str, Any],
    also: Sequence[Path] = (),
) -> Iterator[dict[str, Any]]:
    """Run a stage: its stage.json goes first (it is about to be untrue) and comes back last.

    `also` is what it writes besides `output`. Yields a dict for figures to keep. Standard output has no stage.json.
    """
    figures: dict[str, Any] = {}
    hashes = {name: sha256(Path(path)) for name, path in inputs.items() if path and Path(path).exists()}
    if str(output) == "-":
        yield figures
        return
    output = Path(output)
    stage_path(output).unlink(missing_ok=True)
    for written in (output, *also):
        pruned_path(written).unlink(missing_ok=True)
    started = time.monotonic()
    yield figures
    write_json(
        stage_path(output),
        {
            "command": command,
            "version": __version__,
            "inputs": {name: {"path": str(inputs[name]), "sha256": digest} for name, digest in hashes.items()},
            "settings": dict(settings),
            "seconds": round(time.monotonic() - started, 3),
            "outputs": {
                os.path.relpath(path, output.parent): sha256(path) for path in (output, *also) if path.exists()
            },
            **figures,
        },
    )


def is_complete(output: Path) -> bool:
    """Whether the stage that writes `output` has ended."""
    return output.exists() and stage_path(output).exists()


def is_up_to_date(output: Path, inputs: Iterable[Path | None]) -> bool:
    """Whether the stage that writes `output` has ended and read inputs with the hashes that these have now."""
    if not is_complete(output):
        return False
    read = {value.sha256 for value in read_stage(output).inputs.values()}
    return read == {sha256(path) for path in inputs if path and _there(path)}


def changed_outputs(output: Path) -> list[Path]:
    """Of a complete stage, the files that are not what it wrote: edited, damaged or gone.

    Raises DataError where its stage.json is broken.
    """
    written = {output.parent / name: digest for name, digest in read_stage(output).outputs.items()}
    return [path for path, digest in written.items() if not _there(path) or sha256(path) != digest]


def read_stage(output: Path) -> Mark:
    """The stage.json of a complete stage, read once as long as it does not change.

    Raises DataError where it is broken.
    """
    path = stage_path(output)
    status = path.stat()
    return _read_once(path.absolute(), status.st_mtime_ns, status.st_ino, status.st_size)


@functools.cache
def _read_once(path: Path, modified: int, inode: int, size: int) -> Mark:
    try:
        return Mark.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


def _there(path: Path) -> bool:
    return path.exists() or pruned_path(path).exists()
