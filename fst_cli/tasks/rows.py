"""Rows of a data set, from a user's file or from the hub.

A place is a file (.jsonl, .json, also .gz, or .parquet), a folder of them, or `hub:OWNER/NAME`, with `:CONFIG`, `/FILE`
or `@SPLIT` behind it.
"""

import contextlib
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from fst_cli.data.errors import DataError, FstError, UsageError

HUB = "hub:"
_TEST_NAMES = ("test", "validation", "valid", "dev")
_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet")


class EmptyFieldError(DataError):
    """A row has the column but nothing in it: a hole in the data, not another kind of data."""


@dataclass(frozen=True)
class Row:
    """One row of a data set. Fields are asked for by all the names they are known by, ours first."""

    value: Mapping[str, Any]
    where: str
    number: int
    columns: Mapping[str, str]

    def get(self, *names: str) -> Any:
        """The value of the first of these names that the row has; None where it has none.

        A column that the user named for the first of them is the only one looked at.
        """
        chosen = self.columns.get(names[0])
        for name in [chosen] if chosen else names:
            if self.value.get(name) is not None:
                return self.value[name]
        return None

    def text(self, *names: str) -> str:
        """The same for a text or a number.

        Raises DataError where there is none.
        """
        value = self.get(*names)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
            raise self.lacks(*names)
        return str(value)

    def lacks(self, *names: str) -> DataError:
        """That the row has no such field, with the fix; EmptyFieldError where it is there and empty."""
        known = ", ".join(list(self.value)[:12])
        chosen = self.columns.get(names[0])
        empty = any(self.value.get(name, 0) in (None, "") for name in ([chosen] if chosen else names))
        return (EmptyFieldError if empty else DataError)(
            f"{self.where}: {names[0]}: a text is required",
            hint=f"accepted: {' or '.join(names)}; or --set columns.{names[0]}=COLUMN with one of: {known}",
        )


def absolute(place: str) -> str:
    """A place that means the same in any folder; the hub's as it is."""
    return place if place.startswith(HUB) else str(Path(place).resolve())


def own_splits(place: str) -> dict[str, str] | None:
    """Where the source's own train and test lie; None where it has only one of them."""
    if place.startswith(HUB):
        return _hub_splits(place)
    path = Path(place)
    if not path.is_dir():
        return None
    files = _files(path)
    test = [file for file in files if any(name in file.name.lower() for name in _TEST_NAMES)]
    train = [file for file in files if "train" in file.name.lower() and file not in test]
    return {"train": str(train[0]), "test": str(test[0])} if len(train) == len(test) == 1 else None


def read_rows(place: str, columns: Mapping[str, str] | None = None) -> Iterator[Row]:
    """The rows of a file, of all files of a folder, or of the hub.

    Raises DataError where there is none, or one is not a JSON object.
    """
    number = 0
    for where, value in _values(place):
        number += 1
        if not isinstance(value, dict):
            raise DataError(f"{where}: not a JSON object")
        yield Row(value, where, number, columns or {})
    if not number:
        raise DataError(f"{place}: holds no rows")


def _values(place: str) -> Iterator[tuple[str, Any]]:
    if place.startswith(HUB):
        yield from _hub_values(place)
        return
    path = Path(place)
    for file in _files(path) if path.is_dir() else [path]:
        yield from _file_values(file)


def _files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.name.endswith(_SUFFIXES))
    if not files:
        raise DataError(f"{folder}: holds no data file", hint=f"looked for: {' '.join(_SUFFIXES)}")
    return files


def _file_values(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".parquet":
        yield from _parquet_values(path)
        return
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as stream:
            if path.name.removesuffix(".gz").endswith(".json"):
                yield from _json_list(path, stream.read())
                return
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{path}:{number}", _parsed(line, f"{path}:{number}")
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _json_list(path: Path, text: bytes) -> Iterator[tuple[str, Any]]:
    value = _parsed(text, str(path))
    if not isinstance(value, list):
        raise DataError(f"{path}: not a JSON list", hint="one object a line is called .jsonl")
    yield from ((f"{path}[{number}]", item) for number, item in enumerate(value))


def _parsed(text: bytes, where: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON: {error}") from None


def _parquet_values(path: Path) -> Iterator[tuple[str, Any]]:
    with _told(str(path)):
        rows = _datasets().load_dataset("parquet", data_files=str(path), split="train", streaming=True)
    yield from ((f"{path} row {number}", row) for number, row in enumerate(rows))


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise UsageError("reading from the hub needs the package datasets", hint="pip install 'fst-cli[hub]'") from None
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what is wrong is said once, by us
    return datasets


def _hub_address(place: str) -> tuple[str, str | None, str | None, str | None]:
    """Repository, configuration, file, and split (after `@`) of `hub:OWNER/NAME[:CONFIG][/FILE][@SPLIT]`."""
    rest, _, split = place.removeprefix(HUB).partition("@")
    rest, _, config = rest.partition(":")
    folder = Path(rest).is_dir()  # a copy of a data set's repository
    parts = [rest] if folder else rest.split("/", 2)
    file = parts[2] if len(parts) == 3 else None
    return rest if folder else "/".join(parts[:2]), config or None, file, split or None


def _hub_splits(place: str) -> dict[str, str] | None:
    repository, config, file, split = _hub_address(place)
    if file or split:
        return None
    with _told(place):
        names = _datasets().get_dataset_split_names(repository, config)
    test = next((name for name in _TEST_NAMES if name in names), None)
    return {"train": f"{place}@train", "test": f"{place}@{test}"} if "train" in names and test else None


def _hub_values(place: str) -> Iterator[tuple[str, Any]]:
    repository, config, file, split = _hub_address(place)
    if file:
        from huggingface_hub import hf_hub_download

        with _told(place):
            path = hf_hub_download(repository, file, repo_type="dataset")
        yield from _file_values(Path(path))
        return
    with _told(place):
        datasets = _datasets()
        splits = [split] if split else datasets.get_dataset_split_names(repository, config)
        parts = [datasets.load_dataset(repository, config, split=name, streaming=True) for name in splits]
    for name, part in zip(splits, parts, strict=True):
        yield from ((f"{HUB}{repository} {name} row {number}", row) for number, row in enumerate(part))


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """What goes wrong at the hub is the data's fault or the network's, in one sentence."""
    try:
        yield
    except FstError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "download it where there is a network, and give the file with --data"
        raise DataError(f"{place}: {first[:300]}", hint if place.startswith(HUB) else "") from None
