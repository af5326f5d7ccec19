"""What an evolution has paid for so far, on disk: engine calls and reflections, in the order they were made.

An evolution is a function of its inputs, settings and seeds, so a killed one is resumed by running it again: calls
that the journal holds are read instead of made (gepa saves neither its random state nor its batch order). The last
one may be half-written; it is made again.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson

from fst_cli.console import say
from fst_cli.data import jsonl, tensors
from fst_cli.data.files import atomic_file
from fst_cli.data.records import Rollout
from fst_cli.data.tensors import Tokens


class Journal:
    """A folder of numbered calls. `key` names the evolution; a journal of another one is thrown away."""

    def __init__(self, folder: Path | None, key: dict) -> None:
        self._folder = folder
        self._calls = 0
        self.replayed = 0
        if folder is None:
            return
        mark, digest = folder / "key", _digest(key)
        if folder.exists() and (not mark.exists() or mark.read_text() != digest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(mark) as temporary:
            temporary.write_text(digest)

    def rollouts(
        self, request: list, make: Callable[[], tuple[list[Rollout], list[Tokens]]]
    ) -> tuple[list[Rollout], list[Tokens]]:
        """The rollouts of the next engine call, which asks for `request`: from the journal, or made and kept."""
        self._calls += 1
        if self._folder is None:
            return make()
        path = self._folder / f"call-{self._calls:05d}-{_digest(request)[:16]}.jsonl"
        if path.exists():
            self._say_once()
            return list(jsonl.read(path, Rollout)), tensors.read(tensors.beside(path))
        rollouts, tokens = make()
        tensors.write(tensors.beside(path), tokens)
        jsonl.write(path, rollouts)  # last: it is what marks the call complete
        return rollouts, tokens

    def reply(self, number: int, request: list, make: Callable[[], dict]) -> dict:
        """The reply to reflection number `number`, a JSON object: from the journal, or made and kept."""
        if self._folder is None:
            return make()
        path = self._folder / f"reflection-{number:05d}-{_digest(request)[:16]}.json"
        if path.exists():
            self._say_once()
            found: dict = orjson.loads(path.read_bytes())
            return found
        reply = make()
        with atomic_file(path) as temporary:
            temporary.write_bytes(orjson.dumps(reply))
        return reply

    def close(self) -> None:
        """The evolution has ended and its evidence is kept: the journal goes."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _say_once(self) -> None:
        if not self.replayed:
            say(f"going on with the evolution that was stopped ({self._folder})")
        self.replayed += 1


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
