"""JSONL in and out: streamed, checked against a record's schema, written whole or not at all.

`-` means standard input or standard output. A bad line raises DataError as `file:line: field: what is wrong`. A byte
order mark and CRLF are passed over; a line is read into memory whole, so there is a longest one.
"""

import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import orjson
from pydantic import ValidationError

from fst_cli.data.errors import DataError, ReaderGoneError, nearest
from fst_cli.data.files import atomic_file
from fst_cli.data.records import Record

LONGEST_LINE = 64 * 2**20  # bytes

R = TypeVar("R", bound=Record)
PathLike = Path | str


def read(path: PathLike, kind: type[R]) -> Iterator[R]:
    """Records of `kind` from a JSONL file or standard input; empty lines are skipped.

    Raises DataError where the file is missing, a line is not JSON, or a record breaks its schema.
    """
    name = "<stdin>" if str(path) == "-" else str(path)
    for number, line in _lines(path, name):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(f"{name}:{number}: not valid JSON: {error}") from None
        try:
            yield kind.model_validate(value)
        except ValidationError as error:
            raise _explain(error, f"{name}:{number}", kind) from None


def read_all(path: PathLike, kind: type[R]) -> list[R]:
    """All records of a file, at least one.

    Raises DataError like `read`, and where the file holds no record.
    """
    records = list(read(path, kind))
    if not records:
        raise DataError(f"{path}: holds no {kind.__name__.lower()} record")
    return records


def write(path: PathLike, records: Iterable[Record]) -> int:
    """Write records to a file (atomically) or standard output; the number written."""
    if str(path) == "-":
        try:
            return _write_to(sys.stdout.buffer, records)
        except BrokenPipeError:
            raise ReaderGoneError("standard output is closed") from None
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as stream:
        return _write_to(stream, records)


def append(path: Path, value: dict) -> None:
    """Append one flat JSON object to a log such as metrics.jsonl."""
    with path.open("ab") as stream:
        stream.write(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")


def dump_line(record: Record) -> bytes:
    """A record as one line of JSON, without the line's end."""
    return orjson.dumps(record.model_dump(mode="json"))


def _write_to(stream: BinaryIO, records: Iterable[Record]) -> int:
    count = 0
    for record in records:
        stream.write(dump_line(record) + b"\n")
        count += 1
    stream.flush()
    return count


def _lines(path: PathLike, name: str) -> Iterator[tuple[int, bytes]]:
    if str(path) == "-":
        yield from _numbered(sys.stdin.buffer, name)
        return
    try:
        with Path(path).open("rb") as stream:
            yield from _numbered(stream, name)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a JSONL file") from None


def _numbered(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise DataError(f"{name}:{number}: a line of more than {LONGEST_LINE // 2**20} MiB")
        line = line.removeprefix(BOM_UTF8) if number == 1 else line
        if line.strip():
            yield number, line


def _explain(error: ValidationError, where: str, kind: type[Record]) -> DataError:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "record"
    schema = f"fst schema {kind.__name__.lower()}"
    if first["type"] == "extra_forbidden":
        known = nearest(str(first["loc"][-1]), list(kind.model_fields))
        return DataError(f"{where}: {field}: unknown field", hint=f"{known} The schema: {schema}")
    return DataError(f"{where}: {field}: {first['msg'].lower()}", hint=f"the schema: {schema}")
